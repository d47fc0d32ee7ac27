//! mse and its gradient as one would write them for speed alone: sums of `f32`, in as many lanes as four vectors have.

use super::vectors::{Loop, Stream, dispatch};
use losskit::Isa;
use std::iter::zip;

/// The mean loss.
pub fn mean_with_grad(isa: Isa, input: &[f32], target: &[f32], grad: &mut [f32]) -> f32 {
    dispatch(isa, PlainMse { input, target, grad })
}

struct PlainMse<'a> {
    input: &'a [f32],
    target: &'a [f32],
    grad: &'a mut [f32],
}

const UNROLLED: usize = 4;

impl Loop for PlainMse<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Stream>(self, simd: S) -> f32 {
        let n = self.input.len() as f32;
        let factor = simd.splat_f32s(2.0 / n);
        let mut sums = [simd.splat_f32s(0.0); UNROLLED];
        let (input, input_tail) = S::as_simd_f32s(self.input);
        let (target, target_tail) = S::as_simd_f32s(self.target);
        let (grad, grad_tail) = S::as_mut_simd_f32s(self.grad);
        let (input, input_rest) = input.as_chunks::<UNROLLED>();
        let (target, target_rest) = target.as_chunks::<UNROLLED>();
        let (grad, grad_rest) = grad.as_chunks_mut::<UNROLLED>();
        for (grad, (input, target)) in zip(grad, zip(input, target)) {
            for i in 0..UNROLLED {
                let d = simd.sub_f32s(input[i], target[i]);
                sums[i] = simd.mul_add_e_f32s(d, d, sums[i]);
                grad[i] = simd.mul_f32s(d, factor);
            }
        }
        for (grad, (&input, &target)) in zip(grad_rest, zip(input_rest, target_rest)) {
            let d = simd.sub_f32s(input, target);
            sums[0] = simd.mul_add_e_f32s(d, d, sums[0]);
            *grad = simd.mul_f32s(d, factor);
        }
        let d = simd.sub_f32s(simd.partial_load_f32s(input_tail), simd.partial_load_f32s(target_tail));
        sums[0] = simd.mul_add_e_f32s(d, d, sums[0]);
        simd.partial_store_f32s(grad_tail, simd.mul_f32s(d, factor));
        let pairs = [simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3])];
        simd.reduce_sum_f32s(simd.add_f32s(pairs[0], pairs[1])) / n
    }
}
