//! The elementary functions over arrays. They are not for users, but for programs that measure their errors.

use crate::simd::view::{In, Out};
use crate::simd::{Isa, Kernel, Lanes, Pack, Real, exp, exp_non_positive, log, log1p, tanh_with_derivative};

/// A function that losses are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// e^x
    Exp,
    /// e^x for x <= 0, as in softmax
    ExpNonPositive,
    /// log x
    Log,
    /// log(1 + x)
    Log1p,
    /// tanh x, as in soft caps
    Tanh,
    /// 1 - tanh^2 x, as in soft caps
    TanhDerivative,
}

impl Function {
    /// All functions.
    pub const ALL: [Function; 6] = [
        Function::Exp,
        Function::ExpNonPositive,
        Function::Log,
        Function::Log1p,
        Function::Tanh,
        Function::TanhDerivative,
    ];

    /// Computes `output[i] = f(input[i])` on an instruction set, for as many elements as both arrays have.
    pub fn evaluate<T: Real>(self, isa: Isa, input: &[T], output: &mut [T]) {
        let len = input.len().min(output.len());
        isa.dispatch(Map { function: self, input: input.into(), output: output.into(), len });
    }
}

struct Map<'a, T> {
    function: Function,
    input: In<'a, T>,
    output: Out<'a, T>,
    len: usize,
}

impl<T: Real> Kernel for Map<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let lanes = Pack::<S, T>::LANES;
        for at in (0..self.len).step_by(lanes) {
            let count = lanes.min(self.len - at);
            let x = self.input.load(s, at, count);
            let y = match self.function {
                Function::Exp => exp(x),
                Function::ExpNonPositive => exp_non_positive(x),
                Function::Log => log(x),
                Function::Log1p => log1p(x),
                Function::Tanh => tanh_with_derivative(x)[0],
                Function::TanhDerivative => tanh_with_derivative(x)[1],
            };
            self.output.store(at, count, y);
        }
    }
}
