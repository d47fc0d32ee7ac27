//! Losses, gradients and Hessians of single samples: the worst error for each width and kind of input.

use std::sync::atomic::{AtomicUsize, Ordering};

use losskit::Context;

use crate::common::Float;
use crate::common::families::{BINARY_FAMILIES, CLASS_FAMILIES, WIDTHS, Worst};

/// Elements of a piece of work.
const PIECE: usize = 1 << 16;

/// The worst of many pieces.
fn worst(contexts: &[Context], pieces: usize, measure: impl Fn(&Context, u64) -> Worst + Sync) -> Worst {
    let next = AtomicUsize::new(0);
    let work = |context: &Context| {
        let mut worst = Worst::default();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= pieces {
                return worst;
            }
            worst = worst.and(measure(context, piece as u64));
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = contexts.iter().map(|context| scope.spawn(move || work(context))).collect();
        workers.into_iter().fold(Worst::default(), |all, worker| all.and(worker.join().expect("no worker panics")))
    })
}

fn cells(worst: [Worst; 2]) -> String {
    let [f32, f64] = worst;
    format!(
        " {:.2} / {:.2} / {:.2} | {:.2} / {:.2} / {:.2} |",
        f32.loss, f32.grad, f32.hess, f64.loss, f64.grad, f64.hess
    )
}

/// `rows` times 4096 elements of each width and family, if 1024 are 2^22.
pub fn table(contexts: &[Context], rows: usize) -> (String, bool) {
    let (elements, mut all_within) = (rows << 12, true);
    let mut add = |text: &mut String, worst: [Worst; 2]| {
        all_within &= worst.iter().all(Worst::is_within_bounds);
        *text += &cells(worst);
    };
    let mut text = String::from("| logits | classes | rows | f32: loss / gradient / Hessian | f64 |\n");
    text += "|---|--:|--:|--:|--:|\n";
    for family in &CLASS_FAMILIES {
        for classes in WIDTHS {
            let rows = (PIECE / classes).max(1);
            let pieces = (elements / (rows * classes)).max(1);
            fn one<T: Float>(
                contexts: &[Context],
                pieces: usize,
                call: impl Fn(u64) -> crate::common::call::Call<T> + Sync,
            ) -> Worst {
                worst(contexts, pieces, |context, seed| Worst::of(&call(seed), context))
            }
            text += &format!("| cross_entropy: {} | {classes} | {} |", family.name, rows * pieces);
            let f32 = one::<f32>(contexts, pieces, |seed| family.rows(classes, rows, seed));
            add(&mut text, [f32, one::<f64>(contexts, pieces, |seed| family.rows(classes, rows, seed))]);
            text += "\n";
        }
    }
    let pieces = (elements / PIECE).max(1);
    for family in &BINARY_FAMILIES {
        for (at, name) in ["bce_with_logits", "bce of their sigmoid", "mse", "huber"].into_iter().enumerate() {
            text += &format!("| {name}: {} | | {} |", family.name, pieces * PIECE);
            let f32 =
                worst(contexts, pieces, |context, seed| Worst::of(&family.pointwise::<f32>(PIECE, seed)[at], context));
            let f64 =
                worst(contexts, pieces, |context, seed| Worst::of(&family.pointwise::<f64>(PIECE, seed)[at], context));
            add(&mut text, [f32, f64]);
            text += "\n";
        }
    }
    (text, !all_within)
}
