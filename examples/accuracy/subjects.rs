//! What is measured: functions of one variable, as they are or as the losses that consist of them.

use losskit::{Bce, BceWithLogits, Context, ElementaryFunction, Options, Outputs, Reduction};

use crate::common::Float;
use crate::common::exact::Exact;

/// One row of a table.
pub struct Subject {
    pub name: &'static str,
    /// In units in the last place.
    pub bound: f64,
    call: Call,
    /// What it should be, for a `float32`.
    pub double: fn(f64) -> f64,
    /// The same to twice the digits, times 2^lift, for a `float64`.
    pub exact: fn(f64, i32) -> Exact,
}

#[derive(Clone, Copy)]
enum Call {
    Elementary(ElementaryFunction),
    /// Each sample's loss or gradient for a target of 0 or 1.
    Bce(Output, f64),
    BceWithLogits(Output, f64),
}

#[derive(Clone, Copy)]
enum Output {
    Loss,
    Grad,
}

impl Subject {
    /// What losskit gives.
    pub fn evaluate<T: Float>(&self, context: &Context, input: &[T], output: &mut [T]) {
        let options = Options::new().reduction(Reduction::None);
        let outputs = |which: Output, output| match which {
            Output::Loss => Outputs::new().loss(output),
            Output::Grad => Outputs::new().grad(output),
        };
        match self.call {
            Call::Elementary(function) => function.evaluate(context.isa(), &self.inputs(input), output),
            Call::Bce(which, target) => {
                let target = vec![T::of(target); input.len()];
                let done = Bce::new().eval(context, input, &target, None, &options, outputs(which, output));
                done.expect("lengths agree");
            }
            Call::BceWithLogits(which, target) => {
                let target = vec![T::of(target); input.len()];
                let done = BceWithLogits::new().eval(context, input, &target, None, &options, outputs(which, output));
                done.expect("lengths agree");
            }
        }
    }

    fn inputs<T: Float>(&self, input: &[T]) -> Vec<T> {
        match self.call {
            Call::Elementary(ElementaryFunction::ExpNonPositive) => {
                input.iter().map(|x| T::of(-x.wide().abs())).collect()
            }
            _ => input.to_vec(),
        }
    }
}

/// log(1 + e^x)
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn softplus_exact(x: f64, lift: i32) -> Exact {
    if x < -300.0 {
        // where log(1 + e^x) is e^x to these digits
        return Exact::of(x).exp_scaled(lift);
    }
    let log = Exact::of(-x.abs()).exp().ln_1p();
    (if x > 0.0 { Exact::of(x) + log } else { log }).scaled(lift)
}

/// 1 / (1 + e^-x)
fn sigmoid(x: f64) -> f64 {
    if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
}

fn sigmoid_exact(x: f64, lift: i32) -> Exact {
    let one = Exact::ONE;
    let upper = if x < 0.0 { Exact::of(x).exp_scaled(lift) } else { one.scaled(lift) };
    upper / (one + Exact::of(-x.abs()).exp())
}

fn in_domain(p: f64, value: f64) -> f64 {
    if (0.0..=1.0).contains(&p) { value } else { f64::NAN }
}

fn in_domain_exact(p: f64, value: impl FnOnce() -> Exact) -> Exact {
    if (0.0..=1.0).contains(&p) { value() } else { Exact::of(f64::NAN) }
}

fn clamped(log: Exact) -> Exact {
    log.max(Exact::of(-100.0))
}

/// max(p (1 - p), 1e-12)
fn variance(p: f64) -> Exact {
    (Exact::of(p) * (Exact::ONE - Exact::of(p))).max(Exact::of(1e-12))
}

pub const SUBJECTS: [Subject; 14] = [
    Subject {
        name: "exp",
        bound: 1.0,
        call: Call::Elementary(ElementaryFunction::Exp),
        double: f64::exp,
        exact: |x, lift| Exact::of(x).exp_scaled(lift),
    },
    Subject {
        name: "exp of -\\|x\\|, as in softmax",
        bound: 1.0,
        call: Call::Elementary(ElementaryFunction::ExpNonPositive),
        double: |x| (-x.abs()).exp(),
        exact: |x, lift| Exact::of(-x.abs()).exp_scaled(lift),
    },
    Subject {
        name: "log",
        bound: 1.0,
        call: Call::Elementary(ElementaryFunction::Log),
        double: f64::ln,
        exact: |x, lift| Exact::of(x).ln().scaled(lift),
    },
    Subject {
        name: "log1p",
        bound: 1.0,
        call: Call::Elementary(ElementaryFunction::Log1p),
        double: f64::ln_1p,
        exact: |x, lift| Exact::of(x).ln_1p().scaled(lift),
    },
    Subject {
        name: "tanh, as in soft caps",
        bound: 2.0,
        call: Call::Elementary(ElementaryFunction::Tanh),
        double: f64::tanh,
        exact: |x, lift| Exact::of(x).tanh_scaled(lift),
    },
    Subject {
        name: "1 - tanh^2, its derivative",
        bound: 4.0,
        call: Call::Elementary(ElementaryFunction::TanhDerivative),
        double: |x| x.cosh().powi(-2),
        exact: |x, lift| Exact::of(x).tanh_derivative_scaled(lift),
    },
    Subject {
        name: "bce_with_logits, y = 0 (softplus)",
        bound: 3.0,
        call: Call::BceWithLogits(Output::Loss, 0.0),
        double: softplus,
        exact: softplus_exact,
    },
    Subject {
        name: "bce_with_logits, y = 1",
        bound: 3.0,
        call: Call::BceWithLogits(Output::Loss, 1.0),
        double: |x| softplus(-x),
        exact: |x, lift| softplus_exact(-x, lift),
    },
    Subject {
        name: "its gradient, y = 0 (sigmoid)",
        bound: 4.0,
        call: Call::BceWithLogits(Output::Grad, 0.0),
        double: sigmoid,
        exact: sigmoid_exact,
    },
    Subject {
        name: "its gradient, y = 1",
        bound: 4.0,
        call: Call::BceWithLogits(Output::Grad, 1.0),
        double: |x| -sigmoid(-x),
        exact: |x, lift| -sigmoid_exact(-x, lift),
    },
    Subject {
        name: "bce, y = 0",
        bound: 3.0,
        call: Call::Bce(Output::Loss, 0.0),
        double: |p| in_domain(p, -(-p).ln_1p().max(-100.0)),
        exact: |p, lift| in_domain_exact(p, || -clamped(Exact::of(-p).ln_1p()).scaled(lift)),
    },
    Subject {
        name: "bce, y = 1",
        bound: 3.0,
        call: Call::Bce(Output::Loss, 1.0),
        double: |p| in_domain(p, -p.ln().max(-100.0)),
        exact: |p, lift| in_domain_exact(p, || -clamped(Exact::of(p).ln()).scaled(lift)),
    },
    Subject {
        name: "its gradient, y = 0",
        bound: 4.0,
        call: Call::Bce(Output::Grad, 0.0),
        double: |p| in_domain(p, p / (p * (1.0 - p)).max(1e-12)),
        exact: |p, lift| in_domain_exact(p, || Exact::of(p).scaled(lift) / variance(p)),
    },
    Subject {
        name: "its gradient, y = 1",
        bound: 4.0,
        call: Call::Bce(Output::Grad, 1.0),
        double: |p| in_domain(p, (p - 1.0) / (p * (1.0 - p)).max(1e-12)),
        exact: |p, lift| in_domain_exact(p, || (Exact::of(p) - Exact::ONE).scaled(lift) / variance(p)),
    },
];
