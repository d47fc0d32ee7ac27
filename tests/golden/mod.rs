//! The golden values of `losses.json`: losses and gradients that PyTorch computed in float64 (README.md beside it).
//!
//! A test file says `mod golden;` and walks through [`cases`].

// Every test file that includes this module uses its own part of it.
#![allow(dead_code)]

use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    None,
    Mean,
    Sum,
}

/// What the loss was called with beside its tensors; `None` where PyTorch's default applied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub delta: Option<f64>,
    pub beta: Option<f64>,
    pub pos_weight: Option<f64>,
    pub label_smoothing: Option<f64>,
    pub ignore_index: Option<i64>,
}

/// One call of a loss and what came of it. `input`, `target` and `weight` hold f32 values.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// `mse`, `l1`, `huber`, `smooth_l1`, `bce`, `bce_with_logits`, `cross_entropy`, `cross_entropy_probs`, `nll`.
    pub loss: String,
    /// What the case is about; often empty.
    pub note: String,
    pub reduction: Reduction,
    /// `[n]`, or `[rows, classes]`, or `[outer, classes, height, width]`.
    pub shape: Vec<usize>,
    pub input: Vec<f64>,
    /// As long as `input`, or for `cross_entropy` and `nll` one class index per sample.
    pub target: Vec<f64>,
    /// One per element, or one per class for the softmax family; empty if none.
    pub weight: Vec<f64>,
    pub options: Options,
    /// What the mean divides by, whatever `reduction` is.
    pub divisor: f64,
    /// One element per sample for `Reduction::None`, else one.
    pub value: Vec<f64>,
    /// The derivative of the sum of `value` by each element of `input`.
    pub grad: Vec<f64>,
}

/// All cases, in the order of the file, each record's three reductions in a row.
pub fn cases() -> Vec<Case> {
    let file: Value = serde_json::from_str(include_str!("losses.json")).expect("losses.json is JSON");
    let tensors: Vec<Vec<f64>> = list(&file["tensors"]).iter().map(|t| f32_words(text(t))).collect();
    let cases: Vec<Case> = list(&file["records"]).iter().flat_map(|record| expand(record, &tensors)).collect();
    assert_eq!(Some(cases.len() as u64), file["cases"].as_u64(), "losses.json is incomplete");
    cases
}

/// The three cases of one record.
fn expand(record: &Value, tensors: &[Vec<f64>]) -> [Case; 3] {
    let tensor = |name: &str| match record.get(name) {
        Some(index) => tensors[size(index)].clone(),
        None => Vec::new(),
    };
    let shape: Vec<usize> = list(&record["shape"]).iter().map(size).collect();
    let divisor: f64 = text(&record["divisor"]).parse().expect("a number");
    let grad = f64_words(text(&record["grad"]));
    let mut mean_grad: Vec<f64> = grad.iter().map(|g| g / divisor).collect();
    if let Some(exceptions) = record.get("mean_grad_except") {
        let words: Vec<&str> = text(exceptions).split(' ').collect();
        for pair in words.chunks_exact(2) {
            mean_grad[pair[0].parse::<usize>().expect("an index")] = pair[1].parse().expect("a number");
        }
    }
    let case = |reduction, value: &str, grad: Vec<f64>| Case {
        loss: text(&record["loss"]).to_owned(),
        note: text(&record["note"]).to_owned(),
        reduction,
        shape: shape.clone(),
        input: tensor("input"),
        target: tensor("target"),
        weight: tensor("weight"),
        options: options(&record["options"]),
        divisor,
        value: f64_words(text(&record[value])),
        grad,
    };
    let cases = [
        case(Reduction::None, "none", grad.clone()),
        case(Reduction::Mean, "mean", mean_grad),
        case(Reduction::Sum, "sum", grad),
    ];
    for case in &cases {
        let elements: usize = case.shape.iter().product();
        assert_eq!((case.input.len(), case.grad.len()), (elements, elements), "{} {}", case.loss, case.note);
    }
    cases
}

fn options(json: &Value) -> Options {
    let mut options = Options::default();
    for (name, value) in json.as_object().expect("options are an object") {
        let field = match name.as_str() {
            "delta" => &mut options.delta,
            "beta" => &mut options.beta,
            "pos_weight" => &mut options.pos_weight,
            "label_smoothing" => &mut options.label_smoothing,
            "ignore_index" => {
                options.ignore_index = Some(value.as_i64().expect("an integer"));
                continue;
            }
            other => panic!("losses.json has an option {other} that this module does not know"),
        };
        *field = Some(value.as_f64().expect("a number"));
    }
    options
}

fn list(json: &Value) -> &[Value] {
    json.as_array().expect("an array")
}

fn text(json: &Value) -> &str {
    json.as_str().expect("a string")
}

fn size(json: &Value) -> usize {
    json.as_u64().expect("a count") as usize
}

fn f64_words(words: &str) -> Vec<f64> {
    words.split_ascii_whitespace().map(|word| word.parse().expect("a number")).collect()
}

/// The tensors' decimals are the shortest ones that mean their f32, so they are read as such before they are widened.
fn f32_words(words: &str) -> Vec<f64> {
    words.split_ascii_whitespace().map(|word| f64::from(word.parse::<f32>().expect("a number"))).collect()
}
