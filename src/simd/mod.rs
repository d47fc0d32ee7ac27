//! pulp, and the few operations it lacks: dispatch, lanes, elementary functions, sums, views.
//!
//! Besides the C ABI this is the only place with `unsafe` code.

/// Defines a function that kernels inline, except on types of one lane: their code should be small, so they call it.
macro_rules! called_on_one_lane {
    ($(#[$meta: meta])* $vis: vis fn $name: ident($($arg: ident: $type: ty),*) -> $out: ty = $inlined: ident) => {
        $(#[$meta])*
        #[inline(always)]
        $vis fn $name<S: $crate::simd::Lanes, T: $crate::simd::Real>($($arg: $type),*) -> $out {
            #[inline(never)]
            fn called<S: $crate::simd::Lanes, T: $crate::simd::Real>($($arg: $type),*) -> $out {
                $inlined($($arg),*)
            }
            if S::AT_ONCE == 1 { called($($arg),*) } else { $inlined($($arg),*) }
        }
    };
}
pub(crate) use called_on_one_lane;

mod cpu;
mod exp;
pub mod extended;
mod fpenv;
mod hint;
mod isa;
mod lanes;
mod log;
#[cfg(feature = "linear")]
pub mod matmul;
mod pack;
mod pair;
mod real;
mod sum;
mod tanh;
pub mod tile;
pub mod view;

pub use cpu::{prefers_several_places, set_prefers_several_places};
pub use exp::{
    Expm1Pair, RelativeExp, exp, exp_non_positive, exp_non_positive_pair, exp_non_positive_pair_shifted, exp_parts,
    expm1_pair, power_of_two, unshift,
};
pub use fpenv::{Environment, in_environment};
use hint::prefetch;
pub use hint::stream_fence;
pub use isa::Isa;
pub use lanes::{Kernel, Lanes, fma_f32};
pub use log::{
    fraction_or_complement, log, log_complement, log_fraction, log1p, log1p_fraction, log1p_with_error, x_log_x,
};
use pack::pack;
pub use pack::{Mask, Pack, first_lanes, splat};
pub use pair::{Pair, exact_product, fast_two_sum, two_diff, two_sum};
pub use real::{MAX_GROUP, Real};
#[cfg(feature = "linear")]
pub use sum::add_lanes;
pub use sum::{LaneSum, LaneSums, Total, total};
pub use tanh::tanh_with_derivative;
