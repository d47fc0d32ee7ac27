//! Draws every loss and its gradient, from the kernels themselves.
//!
//! ```text
//! cargo run --example loss_curves                    docs/pictures/losses.svg
//! cargo run --example loss_curves -- FILE.svg
//! ```

use std::error::Error;

use losskit::{
    Bce, BceWithLogits, ClassShape, Context, CrossEntropy, Huber, Indices, L1, Likelihood, Mse, Nll, Options, Outputs,
    Reduction, SmoothL1, Summary, Targets, Td, TdInputs, Weights,
};
use plotters::prelude::*;

/// A loss as a function of one number: what losskit gives for each of the inputs.
type Evaluate = fn(&[f32]) -> Result<Curves, losskit::Error>;

struct Curves {
    loss: Vec<f32>,
    grad: Vec<f32>,
}

struct Panel {
    title: &'static str,
    input: &'static str,
    from: f32,
    to: f32,
    evaluate: Evaluate,
}

/// Each sample's own.
const OPTIONS: Options = Options::new().reduction(Reduction::None);

/// Asks `call` for the loss of n samples and for their gradients, and keeps the first of each sample's.
fn curves(
    n: usize,
    inputs_per_sample: usize,
    call: impl FnOnce(Outputs<'_, f32>) -> Result<Summary, losskit::Error>,
) -> Result<Curves, losskit::Error> {
    let (mut loss, mut grad) = (vec![0.0; n], vec![0.0; n * inputs_per_sample]);
    call(Outputs::new().loss(&mut loss).grad(&mut grad))?;
    Ok(Curves { loss, grad: grad.into_iter().step_by(inputs_per_sample).collect() })
}

macro_rules! pointwise {
    ($loss: expr, $target: expr) => {
        |x| {
            let targets = vec![$target; x.len()];
            curves(x.len(), 1, |outputs| $loss.eval(&Context::default(), x, &targets, None, &OPTIONS, outputs))
        }
    };
}

/// Of the log-probability of the target, the only class.
fn one_class(loss: Nll, x: &[f32]) -> Result<Curves, losskit::Error> {
    let (shape, targets) = (ClassShape::rows(x.len(), 1), vec![0; x.len()]);
    curves(x.len(), 1, |outputs| {
        loss.eval(&Context::default(), shape, x, Indices::U8(&targets), Weights::new(), &OPTIONS, outputs)
    })
}

/// Of two classes the first is the target, its logit x and the other's 0.
fn two_classes(loss: CrossEntropy, x: &[f32]) -> Result<Curves, losskit::Error> {
    let logits: Vec<_> = x.iter().flat_map(|&x| [x, 0.0]).collect();
    let (shape, targets) = (ClassShape::rows(x.len(), 2), vec![0; x.len()]);
    curves(x.len(), 2, |outputs| {
        loss.eval(&Context::default(), shape, &logits, Targets::U8(&targets), Weights::new(), &OPTIONS, outputs)
    })
}

/// One action; the target is 1 + gamma * 0.
fn one_action(loss: Td, q: &[f32]) -> Result<Curves, losskit::Error> {
    let (action, reward, next_q) = (vec![0; q.len()], vec![1.0; q.len()], vec![0.0; q.len()]);
    let inputs = TdInputs::new(1, q, Indices::U8(&action), &reward, &next_q);
    curves(q.len(), 1, |outputs| loss.eval(&Context::default(), &inputs, &OPTIONS, outputs, None))
}

const PANELS: [Panel; 12] = [
    Panel { title: "mse", input: "input - target", from: -3.0, to: 3.0, evaluate: pointwise!(Mse::new(), 0.0) },
    Panel { title: "l1", input: "input - target", from: -3.0, to: 3.0, evaluate: pointwise!(L1::new(), 0.0) },
    Panel {
        title: "huber, delta = 1",
        input: "input - target",
        from: -3.0,
        to: 3.0,
        evaluate: pointwise!(Huber::new(1.0), 0.0),
    },
    Panel {
        title: "smooth_l1, beta = 0.5",
        input: "input - target",
        from: -3.0,
        to: 3.0,
        evaluate: pointwise!(SmoothL1::new(0.5), 0.0),
    },
    Panel { title: "bce, target 1", input: "probability", from: 0.05, to: 0.99, evaluate: pointwise!(Bce::new(), 1.0) },
    Panel {
        title: "bce_with_logits, target 1",
        input: "logit",
        from: -5.0,
        to: 5.0,
        evaluate: pointwise!(BceWithLogits::new(), 1.0),
    },
    Panel {
        title: "likelihood, target 1",
        input: "probability",
        from: 0.0,
        to: 1.0,
        evaluate: pointwise!(Likelihood::new(), 1.0),
    },
    Panel {
        title: "nll",
        input: "log-probability of the target",
        from: -5.0,
        to: 0.0,
        evaluate: |x| one_class(Nll::new(), x),
    },
    Panel {
        title: "cross_entropy",
        input: "logit of the target, the other's is 0",
        from: -5.0,
        to: 5.0,
        evaluate: |x| two_classes(CrossEntropy::new(), x),
    },
    Panel {
        title: "cross_entropy, label_smoothing = 0.2",
        input: "logit of the target, the other's is 0",
        from: -5.0,
        to: 5.0,
        evaluate: |x| two_classes(CrossEntropy::new().label_smoothing(0.2), x),
    },
    Panel {
        title: "td, mse, target 1",
        input: "q of the action",
        from: -2.0,
        to: 4.0,
        evaluate: |x| one_action(Td::mse(0.5), x),
    },
    Panel {
        title: "td, huber, target 1",
        input: "q of the action",
        from: -2.0,
        to: 4.0,
        evaluate: |x| one_action(Td::huber(0.5, 1.0), x),
    },
];

const POINTS: usize = 240;
/// What is beyond is not drawn.
const LOWEST: f32 = -4.0;
const HIGHEST: f32 = 5.0;
const COLUMNS: usize = 3;
/// The picture's size, in pixels.
const PANEL: (usize, usize) = (320, 240);
const HEAD: u32 = 30;
/// plotters rounds coordinates to whole numbers, which would make steps of curves: everything is drawn so many times as large,
/// and the picture shown in its own size.
const FINE: u32 = 16;

/// A number on an axis. (Some zeros of plotters are -0.0.)
fn label(x: &f32) -> String {
    format!("{:.1}", if x.abs() < 1e-6 { 0.0 } else { *x })
}

fn draw(panel: &Panel, area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Result<(), Box<dyn Error>> {
    let x: Vec<f32> = (0..=POINTS).map(|i| panel.from + (panel.to - panel.from) * i as f32 / POINTS as f32).collect();
    let Curves { loss, grad } = (panel.evaluate)(&x)?;
    let values = || loss.iter().chain(&grad).copied();
    let (least, most) = (values().fold(0.0, f32::min).max(LOWEST), values().fold(0.0, f32::max).min(HIGHEST));
    let room = 0.05 * (most - least);
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 15 * FINE))
        .margin(8 * FINE)
        .x_label_area_size(34 * FINE)
        .y_label_area_size(34 * FINE)
        .build_cartesian_2d(panel.from..panel.to, least - room..most + room)?;
    let text = ("sans-serif", 12 * FINE);
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.2).stroke_width(FINE))
        .axis_style(BLACK.stroke_width(FINE))
        .set_all_tick_mark_size(5 * FINE)
        .label_style(text)
        .axis_desc_style(text)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .x_labels(6)
        .y_labels(6)
        .x_desc(panel.input)
        .draw()?;
    for (values, colour) in [(loss, BLUE), (grad, RED)] {
        let line: Vec<_> = x.iter().copied().zip(values).filter(|(_, y)| (LOWEST..=HIGHEST).contains(y)).collect();
        chart.draw_series(LineSeries::new(line, colour.stroke_width(2 * FINE)))?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pictures/losses.svg").to_owned());
    let rows = PANELS.len().div_ceil(COLUMNS);
    let (width, height) = ((PANEL.0 * COLUMNS) as u32, HEAD + (PANEL.1 * rows) as u32);
    let mut picture = String::new();
    {
        let root = SVGBackend::with_string(&mut picture, (width * FINE, height * FINE)).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, body) = root.split_vertically(HEAD * FINE);
        let text = |colour: &RGBColor| ("sans-serif", 16 * FINE).into_font().color(colour);
        let fine = FINE as i32;
        head.draw(&Text::new("loss", (12 * fine, 10 * fine), text(&BLUE)))?;
        head.draw(&Text::new("gradient", (60 * fine, 10 * fine), text(&RED)))?;
        for (panel, area) in PANELS.iter().zip(body.split_evenly((rows, COLUMNS))) {
            draw(panel, &area)?;
        }
        root.present()?;
    }
    let drawn = format!("width=\"{}\" height=\"{}\"", width * FINE, height * FINE);
    std::fs::write(&path, picture.replacen(&drawn, &format!("width=\"{width}\" height=\"{height}\""), 1))?;
    println!("{path}");
    Ok(())
}
