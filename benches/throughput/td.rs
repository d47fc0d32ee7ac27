//! The loss of Q-learning.

use crate::data::{Buffer, Float, Random};
use crate::measure::{Bench, Size};
use losskit::{Context, Indices, Options, Outputs, Td, TdInputs};

pub const ACTIONS: usize = 18;
const ROWS: usize = 4096;

/// What a call reads.
pub struct Batch<T> {
    pub q: Buffer<T>,
    pub next_q: Buffer<T>,
    pub action: Vec<i64>,
    pub reward: Vec<T>,
    pub done: Vec<u8>,
}

impl<T: Float> Batch<T> {
    pub fn new(rows: usize) -> Self {
        let mut random = Random(5);
        Batch {
            q: Buffer::new(0, rows * ACTIONS, || T::of(random.normal(1.0))),
            next_q: Buffer::new(1, rows * ACTIONS, || T::of(random.normal(1.0))),
            action: (0..rows).map(|_| random.below(ACTIONS) as i64).collect(),
            reward: (0..rows).map(|_| T::of(random.normal(1.0))).collect(),
            done: (0..rows).map(|_| u8::from(random.below(50) == 0)).collect(),
        }
    }

    pub fn inputs(&self) -> TdInputs<'_, T> {
        TdInputs::new(ACTIONS, &self.q, Indices::I64(&self.action), &self.reward, &self.next_q).done(&self.done)
    }
}

pub fn run<T: Float>(bench: &mut Bench) {
    let batch = Batch::<T>::new(ROWS);
    let (inputs, elements) = (batch.inputs(), ROWS * ACTIONS);
    let shape = format!("{ROWS}x{ACTIONS}");
    let size = |arrays| Size { shape: &shape, elements, bytes: arrays * elements * size_of::<T>() };
    let (context, options) = (Context::default(), Options::new());
    let mut output = Buffer::new(2, elements, || T::of(0.0));
    let mut value = [T::of(0.0)];
    for (name, td) in [("td_mse", Td::mse(0.99)), ("td_huber", Td::huber(0.99, 1.0))] {
        bench.threads(&format!("{name}_{}_value", T::NAME), "", size(1), || {
            td.eval(&context, &inputs, &options, Outputs::new().loss(&mut value), None)
        });
        bench.threads(&format!("{name}_{}_grad", T::NAME), "", size(2), || {
            td.eval(&context, &inputs, &options, Outputs::new().loss(&mut value).grad(&mut output), None)
        });
    }
}
