//! The table of all losses of independent elements: whatever names each of them is made from it.

/// Calls the macro `$make` with the table, after whatever else is given for it. A line has, in turn:
/// - the loss's file, whose name its C functions have too;
/// - its public type, and in parentheses its formula, both of that file;
/// - in brackets what its C functions take after `weight`: nothing, a number, or an array, its length and a struct;
/// - what its input is: `numbers` against numbers; or, against labels from 0 to 1, `logits`, `probabilities`, or
///   `only_probabilities` if it takes no others. Tests and benchmarks go by it.
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
