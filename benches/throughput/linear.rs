//! Cross-entropy of a linear layer, beside its three matrix products alone.

use crate::data::{Buffer, Random};
use crate::measure::{Bench, Size};
use gemm_common::Parallelism;
use losskit::{Context, Error, Indices, LinearCrossEntropy, LinearInputs, LinearOutputs, Options};

const ROWS: usize = 512;
const WIDTH: usize = 256;
const CLASSES: usize = 8192;

pub fn run(bench: &mut Bench) {
    let mut random = Random(4);
    let mut numbers = |place, len| Buffer::new(place, len, || random.normal(0.5) as f32);
    let (hidden, weight) = (numbers(0, ROWS * WIDTH), numbers(1, CLASSES * WIDTH));
    let mut random = Random(5);
    let targets: Vec<i64> = (0..ROWS).map(|_| random.below(CLASSES) as i64).collect();
    let zeros = |place, len| Buffer::new(place, len, || 0f32);
    let (mut grad_hidden, mut grad_weight) = (zeros(2, ROWS * WIDTH), zeros(1, CLASSES * WIDTH));
    let mut logits = zeros(0, ROWS * CLASSES);
    let shape = format!("{ROWS}x{WIDTH}x{CLASSES}");
    // an element is a logit
    let size = Size { shape: &shape, elements: ROWS * CLASSES, bytes: 0 };

    let (context, options) = (Context::default(), Options::new());
    bench.threads("linear_cross_entropy_f32_grad", "", size, || {
        let mut loss = [0.0];
        let inputs = LinearInputs::new(ROWS, WIDTH, CLASSES, &hidden, &weight, Indices::I64(&targets));
        let outputs = LinearOutputs::new().loss(&mut loss);
        let outputs = outputs.grad_hidden(&mut grad_hidden).grad_weight(&mut grad_weight);
        LinearCrossEntropy::new().eval(&context, &inputs, &options, outputs)
    });
    let (hidden, weight) = (rows_of(&hidden, WIDTH), rows_of(&weight, WIDTH));
    bench.threads("linear_matmuls_f32", "", size, || {
        multiply([ROWS, CLASSES, WIDTH], hidden, (weight.0, weight.2, weight.1), &mut logits);
        let (data, down, right) = rows_of(&logits, CLASSES);
        multiply([ROWS, WIDTH, CLASSES], (data, down, right), weight, &mut grad_hidden);
        multiply([CLASSES, WIDTH, ROWS], (data, right, down), hidden, &mut grad_weight);
        Ok::<_, Error>(())
    });
}

/// Elements, and how far it is down and to the right.
type Matrix<'a> = (&'a [f32], usize, usize);

fn rows_of(data: &[f32], columns: usize) -> Matrix<'_> {
    (data, columns, 1)
}

/// A product of so many rows, columns and terms, in all of gemm's own ways.
fn multiply([rows, columns, inner]: [usize; 3], left: Matrix<'_>, right: Matrix<'_>, into: &mut [f32]) {
    let threads = if rayon::current_num_threads() > 1 { Parallelism::Rayon(0) } else { Parallelism::None };
    let last = |(_, down, across): Matrix<'_>, rows: usize, columns: usize| (rows - 1) * down + (columns - 1) * across;
    assert!(last(left, rows, inner) < left.0.len() && last(right, inner, columns) < right.0.len());
    assert_eq!(into.len(), rows * columns);
    let strides = |(_, down, across): Matrix<'_>| (across as isize, down as isize);
    let ((left_column, left_row), (right_column, right_row)) = (strides(left), strides(right));
    // The transposed product of the transposed matrices, for gemm writes columns faster than rows.
    // SAFETY: all elements are there, by the lines above
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            columns,
            rows,
            inner,
            into.as_mut_ptr(),
            columns as isize,
            1,
            false,
            right.0.as_ptr(),
            right_row,
            right_column,
            left.0.as_ptr(),
            left_row,
            left_column,
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}
