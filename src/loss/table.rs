//! The table of all losses of independent elements. All code that names each of them is generated from it.

/// Calls the macro `$make` with the tokens `$before` and then the table. A line consists of:
/// - the name of the loss's file, which is also the name of its C functions;
/// - its public type and, in parentheses, its formula, which are both defined in that file;
/// - in brackets, the parameters of its C functions after `weight`: nothing, a number, or an array, its length and a
///   struct;
/// - the kind of its input: `numbers` if the targets are numbers too; if the targets are labels from 0 to 1, `logits`,
///   `probabilities`, or `only_probabilities` if other inputs are outside of the domain. Tests and benchmarks use this.
///
/// The C header has the losses in this order.
#[rustfmt::skip]
macro_rules! for_pointwise_losses {
    ($make: ident $($before: tt)*) => {
        $make! {
            $($before)*
            mse Mse(Square) [] numbers;
            l1 L1(Absolute) [] numbers;
            huber Huber(Hub<T>) [delta: T] numbers;
            smooth_l1 SmoothL1(Smooth<T>) [beta: T] numbers;
            bce Bce(Logs) [] only_probabilities;
            bce_with_logits BceWithLogits(Logistic) [pos_weight: *const T, n_pos_weight: usize, params: *const lk_bce_with_logits_params] logits;
            likelihood Likelihood(Linear) [] probabilities;
        }
    };
}
pub(crate) use for_pointwise_losses;
