//! Cross-entropy of the outputs of a linear layer, which are never in memory all at once.

use super::classes::{reserved, zeros};
use super::cross_entropy::{CrossEntropy, CrossEntropyInputs};
use super::element::{Element, Work};
use crate::context::Context;
use crate::cost::Cost;
use crate::error::Error;
use crate::indices::{IndexView, Indices, TargetView};
use crate::kernel::bias::{ColumnSums, Spread};
use crate::kernel::targets;
use crate::options::{Options, Sinks, Summary, check_length};
use crate::shape::{ClassShape, Divisor, Layout, Reduction, WeightView, Weights};
use crate::simd::in_environment;
use crate::simd::matmul::{self, Matrix, even_share};
use crate::simd::view::{In, Out, in_place};

/// Cross-entropy of `logits = hidden weight^T + bias`, with the gradients with respect to `hidden`, `weight` and `bias`
/// (PyTorch's `linear_cross_entropy`).
///
/// Rows are processed in blocks. The logits of a block are computed, overwritten with their gradient, and used for the
/// gradients of the inputs. So only the logits of one block are in memory at a time, within a budget
/// ([`memory`](Self::memory)), instead of rows times classes of them. Each matrix product is computed once.
///
/// Targets, weights, label smoothing and the divisor of a mean are as in [`CrossEntropy`].
///
/// The matrix products are computed by the gemm crate, which chooses the instruction set itself. Unlike the results of
/// other losses, these may therefore differ in their last bits between machines. The logits of ignored rows are
/// computed too, though not used, so `hidden` must be finite there.
///
/// ```
/// use losskit::{Context, Indices, LinearCrossEntropy, LinearInputs, LinearOutputs, Options};
/// let (hidden, weight) = ([1.0f32, 2.0], [0.5f32, 0.0, 0.0, 0.5, 1.0, 1.0]);      // one row; three classes of two
/// let inputs = LinearInputs::new(1, 2, 3, &hidden, &weight, Indices::I64(&[2]));
/// let (mut loss, mut grad) = ([0.0], [0.0; 2]);
/// let outputs = LinearOutputs::new().loss(&mut loss).grad_hidden(&mut grad);
/// LinearCrossEntropy::new().eval(&Context::default(), &inputs, &Options::new(), outputs)?;
/// assert!((loss[0] - ((-2.5f32).exp() + (-2f32).exp()).ln_1p()).abs() < 1e-6);
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearCrossEntropy {
    loss: CrossEntropy,
    memory: usize,
}

impl Default for LinearCrossEntropy {
    fn default() -> Self {
        Self::new()
    }
}

/// The inputs of [`LinearCrossEntropy`].
#[derive(Clone, Copy, Debug)]
pub struct LinearInputs<'a, T> {
    rows: usize,
    width: usize,
    classes: usize,
    hidden: &'a [T],
    weight: &'a [T],
    bias: Option<&'a [T]>,
    targets: Indices<'a>,
    weights: Weights<'a, T>,
}

impl<'a, T> LinearInputs<'a, T> {
    /// `hidden[rows][width]` and `weight[classes][width]`, both dense, and one target index for each row.
    pub const fn new(
        rows: usize,
        width: usize,
        classes: usize,
        hidden: &'a [T],
        weight: &'a [T],
        targets: Indices<'a>,
    ) -> Self {
        LinearInputs { rows, width, classes, hidden, weight, bias: None, targets, weights: Weights::new() }
    }
    /// The bias, one element for each class.
    pub const fn bias(mut self, bias: &'a [T]) -> Self {
        self.bias = Some(bias);
        self
    }
    /// The weights of classes and rows.
    pub const fn weights(mut self, weights: Weights<'a, T>) -> Self {
        self.weights = weights;
        self
    }
}

/// The output arrays of [`LinearCrossEntropy`]. An output without an array is not computed.
#[derive(Debug)]
pub struct LinearOutputs<'a, T> {
    loss: Option<&'a mut [T]>,
    grad_hidden: Option<&'a mut [T]>,
    grad_weight: Option<&'a mut [T]>,
    grad_bias: Option<&'a mut [T]>,
    cost: Option<&'a mut Cost>,
    correct: Option<&'a mut u64>,
    is_correct: Option<Out<'a, bool>>,
}

impl<T> Default for LinearOutputs<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a, T> LinearOutputs<'a, T> {
    /// No outputs.
    pub const fn new() -> Self {
        LinearOutputs {
            loss: None,
            grad_hidden: None,
            grad_weight: None,
            grad_bias: None,
            cost: None,
            correct: None,
            is_correct: None,
        }
    }
    /// The reduced loss, or the loss of each row.
    pub fn loss(mut self, loss: &'a mut [T]) -> Self {
        self.loss = Some(loss);
        self
    }
    /// The gradient with respect to `hidden`, with the same shape.
    pub fn grad_hidden(mut self, grad: &'a mut [T]) -> Self {
        self.grad_hidden = Some(grad);
        self
    }
    /// The gradient with respect to `weight`, with the same shape.
    pub fn grad_weight(mut self, grad: &'a mut [T]) -> Self {
        self.grad_weight = Some(grad);
        self
    }
    /// The gradient with respect to the bias.
    pub fn grad_bias(mut self, grad: &'a mut [T]) -> Self {
        self.grad_bias = Some(grad);
        self
    }
    /// Adds the loss of this batch to the cost of a data set.
    pub fn cost(mut self, cost: &'a mut Cost) -> Self {
        self.cost = Some(cost);
        self
    }
    /// The number of correct predictions, as [`Outputs::correct`](crate::Outputs::correct).
    pub fn correct(mut self, count: &'a mut u64) -> Self {
        self.correct = Some(count);
        self
    }
    /// Whether the prediction of each row is correct.
    pub fn is_correct(self, each: &'a mut [bool]) -> Self {
        self.each_correct(Out::from(each))
    }
    pub(crate) fn each_correct(mut self, each: Out<'a, bool>) -> Self {
        self.is_correct = Some(each);
        self
    }
}

impl LinearCrossEntropy {
    /// `ignore_index` -100, no label smoothing, no z-loss, 64 MiB.
    pub const fn new() -> Self {
        LinearCrossEntropy { loss: CrossEntropy::new(), memory: 64 << 20 }
    }
    /// Rows with this target are ignored.
    pub const fn ignore_index(mut self, target: i64) -> Self {
        self.loss = self.loss.ignore_index(target);
        self
    }
    /// As [`CrossEntropy::label_smoothing`].
    pub const fn label_smoothing(mut self, share: f64) -> Self {
        self.loss = self.loss.label_smoothing(share);
        self
    }
    /// As [`CrossEntropy::z_loss`].
    pub const fn z_loss(mut self, factor: f64) -> Self {
        self.loss = self.loss.z_loss(factor);
        self
    }
    /// As [`CrossEntropy::soft_cap`].
    pub const fn soft_cap(mut self, cap: f64) -> Self {
        self.loss = self.loss.soft_cap(cap);
        self
    }
    /// The number of bytes of logits in a block, but at least one row. Blocks have about the same size. Some hundred
    /// rows are enough for full speed. In addition a call allocates eight bytes for each class for the gradient of a
    /// bias, and the gemm crate allocates 5 to 15 MiB for its own copies (measured, with glibc) and as much as a
    /// second-level cache for each further thread, which the thread keeps.
    pub const fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// Computes the loss and the gradients that `outputs` contains. With [`Reduction::None`] the gradients of weight
    /// and bias are those of the sum of the losses.
    ///
    /// # Errors
    /// As [`CrossEntropy::mean`], and [`Error::NanOption`] and [`Error::OutOfMemory`]. After an error nothing was
    /// written.
    pub fn eval<T: Element>(
        &self,
        context: &Context,
        inputs: &LinearInputs<'_, T>,
        options: &Options,
        outputs: LinearOutputs<'_, T>,
    ) -> Result<Summary, Error> {
        let call = Call::new(self, context, inputs, options, &outputs)?;
        #[cfg(feature = "rayon")]
        if context.has_threads() {
            return context.install(|| call.run(outputs, true));
        }
        call.run(outputs, false)
    }
}

/// A call, after all checks.
struct Call<'a, T> {
    loss: CrossEntropy,
    context: &'a Context,
    inputs: &'a LinearInputs<'a, T>,
    options: &'a Options,
    /// The number of rows in a block.
    block: usize,
    /// The options for the call of each block: the sum, or the loss of each row, with the factor of the whole batch.
    block_options: Options,
    divisor: Divisor,
}

impl<'a, T: Element> Call<'a, T> {
    fn new(
        how: &LinearCrossEntropy,
        context: &'a Context,
        inputs: &'a LinearInputs<'a, T>,
        options: &'a Options,
        outputs: &LinearOutputs<'_, T>,
    ) -> Result<Self, Error> {
        let &LinearInputs { rows, width, classes, hidden, weight, bias, targets, weights } = inputs;
        options.check()?;
        how.loss.check::<T>()?;
        ClassShape::rows(rows, classes).layout()?;
        let product = |name, a: usize, b: usize| a.checked_mul(b).ok_or(Error::SizeTooLarge { name });
        check_length("hidden", hidden.len(), product("hidden", rows, width)?)?;
        check_length("weight", weight.len(), product("weight", classes, width)?)?;
        let check = |name, slice: Option<usize>, needed| slice.map_or(Ok(()), |len| check_length(name, len, needed));
        check("bias", bias.map(<[T]>::len), classes)?;
        check("class_weight", weights.class.map(<[T]>::len), classes)?;
        check("row_weight", weights.row.map(<[T]>::len), rows)?;
        let losses = if options.reduction == Reduction::None { rows } else { 1 };
        check("loss", outputs.loss.as_ref().map(|out| out.len()), losses)?;
        check("grad_hidden", outputs.grad_hidden.as_ref().map(|out| out.len()), hidden.len())?;
        check("grad_weight", outputs.grad_weight.as_ref().map(|out| out.len()), weight.len())?;
        check("grad_bias", outputs.grad_bias.as_ref().map(|out| out.len()), classes)?;
        check("is_correct", outputs.is_correct.map(|out| out.as_in().len()), rows)?;
        let targets = IndexView::from(targets);
        check_length("targets", targets.len(), rows)?;
        let ignored = Some(how.loss.ignored());
        let (factor, divisor) = in_environment(|here| {
            let divisor = targets::check(here, context, targets, classes, ignored, WeightView::from(weights))?;
            Ok((options.factor(here, 1.0, divisor).to_f64(), divisor))
        })?;
        let reduction = if options.reduction == Reduction::None { Reduction::None } else { Reduction::Sum };
        let block_options = Options::new().reduction(reduction).grad_scale(factor);
        let most = (how.memory / size_of::<T>() / classes.max(1)).clamp(1, rows.max(1));
        let block = even_share(rows.max(1), most);
        Ok(Call { loss: how.loss, context, inputs, options, block, block_options, divisor })
    }

    fn run(&self, outputs: LinearOutputs<'_, T>, parallel: bool) -> Result<Summary, Error> {
        let &LinearInputs { rows, width, classes, hidden, weight, bias, .. } = self.inputs;
        let adds = self.options.accumulate_grad;
        let LinearOutputs { mut loss, mut grad_hidden, mut grad_weight, mut grad_bias, cost, correct, is_correct } =
            outputs;
        let each = self.options.reduction == Reduction::None;
        let mut bias_sums = zeros(if grad_bias.is_some() { classes } else { 0 }, 0.0)?;
        let mut room = zeros(if rows > 0 { self.block.saturating_mul(classes) } else { 0 }, T::ZERO)?;
        // gemm aborts the process if it cannot allocate memory for its copies. So memory of this size is allocated here
        // first, before anything is written. It is allocated in pieces, because after a single large piece glibc would
        // retain all memory of this size on its heap.
        let mut copies: [Vec<u8>; 8] = Default::default();
        for copy in &mut copies {
            *copy = reserved(matmul::COPY_BYTES)?;
        }
        drop(copies);
        // the product of the first block overwrites the contents, if there is a block
        let no_rows = grad_weight.as_mut().filter(|_| rows == 0);
        for grad in [no_rows, grad_bias.as_mut()].into_iter().flatten().filter(|_| !adds) {
            grad.fill(T::ZERO);
        }
        let needs_grad = grad_hidden.is_some() || grad_weight.is_some() || grad_bias.is_some();
        let (mut total, mut right) = (Cost::new(), 0);
        for first in (0..rows).step_by(self.block) {
            let count = self.block.min(rows - first);
            let hidden = Matrix::new(&hidden[first * width..][..count * width], count, width);
            let weight = Matrix::new(weight, classes, width);
            let logits = &mut room[..count * classes];
            if let Some(bias) = bias {
                let call = Spread { bias: In::from(bias), matrix: Out::from(&mut *logits), rows: count };
                in_environment(|here| T::reduce(here, self.context, Work::BiasRows(&call)));
            }
            hidden.multiply(weight.transposed(), logits, bias.is_some(), parallel);
            let loss = match &mut loss {
                Some(loss) if each => Some(Out::from(&mut loss[first..][..count])),
                _ => None,
            };
            let mut right_here = 0;
            let sinks = Sinks {
                loss,
                grad: None,
                hess: None,
                cost: Some(&mut total),
                correct: correct.is_some().then_some(&mut right_here),
                is_correct: is_correct.map(|each| each.slice(first, count)),
            };
            self.block_of_rows(first, count, logits, needs_grad, sinks)?;
            right += right_here;
            if grad_bias.is_some() {
                let call = ColumnSums {
                    matrix: In::from(&*logits),
                    rows: count,
                    columns: classes,
                    sums: Out::from(&mut bias_sums[..]),
                };
                in_environment(|here| T::reduce(here, self.context, Work::BiasSums(&call)));
            }
            let slopes = Matrix::new(logits, count, classes);
            if let Some(grad) = &mut grad_hidden {
                slopes.multiply(weight, &mut grad[first * width..][..count * width], adds, parallel);
            }
            if let Some(grad) = &mut grad_weight {
                slopes.transposed().multiply(hidden, grad, adds || first > 0, parallel);
            }
        }
        if let Some(grad) = grad_bias {
            grad.iter_mut().zip(&bias_sums).for_each(|(grad, &sum)| *grad = *grad + T::from_f64(sum));
        }
        if let (Some(loss), false) = (loss, each) {
            let sum = total.sum();
            loss[0] = T::from_f64(match self.options.reduction {
                Reduction::Mean => self.options.undivided_mean(sum, self.divisor).unwrap_or_else(|| total.mean()),
                _ => sum,
            });
        }
        if let Some(cost) = cost {
            cost.merge(&total);
        }
        if let Some(correct) = correct {
            *correct = right;
        }
        Ok(Summary { weight_sum: self.divisor.sum.value(), out_of_domain: false })
    }

    /// Computes the outputs in `sinks` from the logits of a block, and overwrites the logits with their gradients.
    fn block_of_rows(
        &self,
        first: usize,
        count: usize,
        logits: &mut [T],
        needs_grad: bool,
        sinks: Sinks<'_, T>,
    ) -> Result<(), Error> {
        let inputs = self.inputs;
        let layout: Layout = ClassShape::rows(count, inputs.classes).layout()?;
        let (logits, grad) = in_place(logits);
        let targets = TargetView::Indices(IndexView::from(inputs.targets).slice(first, count));
        let weights = WeightView {
            class: inputs.weights.class.map(In::from),
            row: inputs.weights.row.map(|row| In::from(&row[first..][..count])),
        };
        let sinks = Sinks { grad: needs_grad.then_some(grad), ..sinks };
        let inputs = CrossEntropyInputs { layout, logits, targets, weights };
        self.loss.run_with_any_scale(self.context, inputs, &self.block_options, sinks)?;
        Ok(())
    }
}
