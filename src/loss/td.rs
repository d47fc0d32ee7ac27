//! Temporal difference: the loss of Q-learning.

use super::element::{AnyFormula, Element, Work};
use super::huber::Hub;
use super::mse::Square;
use crate::context::Context;
use crate::error::Error;
use crate::indices::{IndexView, Indices};
use crate::kernel::gather::{self, Gather};
use crate::kernel::targets;
use crate::options::{Options, Outputs, Sinks, Summary, check_elements, check_length, check_optional};
use crate::shape::{ClassShape, Divisor, Layout, Reduction, WeightView};
use crate::simd::view::{In, Out, in_place};
use crate::simd::{Environment, in_environment};

/// The temporal-difference loss of (deep, double) Q-learning (Mnih et al., 2015; van Hasselt et al., 2016).
///
/// ```text
/// target = reward + gamma (1 - done) max over a' of next_q[a']
///          (double DQN: next_q[argmax over a' of next_q_online[a']])
/// d = q[action] - target        td_error = -d
/// loss = d^2, or huber(d)       gradient: the loss's at the action, 0 elsewhere; Hessian likewise
/// ```
///
/// `q` and `next_q` are `[batch][actions]`. If a row is done (`done` is not 0), its `next_q` is not read. If gamma is
/// 0, `next_q` has no influence, even if it is infinite or NaN. The argmax is the first maximum; a NaN counts as the
/// maximum. The target is a constant: no gradient flows through it. For n-step returns pass gamma^n as gamma. The mean
/// divides by the batch size, with or without weights.
///
/// The difference d between target and q may nearly cancel, so its error depends on the size of its terms: it is within
/// 4 units in the last place of t, the largest of |reward|, gamma |next_q|, |q| and |d|. The gradient of d^2 is within
/// 4 units of 2 t, and that of huber(d) within 4 units of t. The loss is within 4 units of the larger of itself and t
/// times the slope, which is |2 d| or the clipped |d|.
///
/// ```
/// use losskit::{Indices, Td, TdInputs};
/// let inputs = TdInputs::new(3, &[1.0f32, 2.0, 0.5], Indices::U8(&[1]), &[1.0], &[0.5, 3.0, 1.0]);
/// let mut grad = [0.0; 3];
/// let loss = Td::mse(0.5).mean_with_grad(&inputs, &mut grad)?;       // target 1 + 0.5 * 3
/// assert_eq!((loss, grad), (0.25, [0.0, -1.0, 0.0]));
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Td {
    gamma: f64,
    /// None: mean squared error
    delta: Option<f64>,
}

/// What a call of [`Td`] reads.
#[derive(Clone, Copy, Debug)]
pub struct TdInputs<'a, T> {
    actions: usize,
    row_stride: Option<usize>,
    q: &'a [T],
    action: Indices<'a>,
    reward: &'a [T],
    next_q: &'a [T],
    done: Option<&'a [u8]>,
    next_q_online: Option<&'a [T]>,
    weight: Option<&'a [T]>,
}

impl<'a, T> TdInputs<'a, T> {
    /// `q` and `next_q` have `actions` values in each row; `action` and `reward` have one element for each row.
    pub const fn new(actions: usize, q: &'a [T], action: Indices<'a>, reward: &'a [T], next_q: &'a [T]) -> Self {
        TdInputs { actions, row_stride: None, q, action, reward, next_q, done: None, next_q_online: None, weight: None }
    }
    /// The number of elements from one row to the next, in `q`, `next_q`, the gradient and the Hessian, unless the rows
    /// are dense; 0 gives [`Error::InvalidStride`].
    pub const fn row_stride(mut self, elements: usize) -> Self {
        self.row_stride = Some(elements);
        self
    }
    /// One element for each row; the episode ended with this row if it is not 0.
    pub const fn done(mut self, done: &'a [u8]) -> Self {
        self.done = Some(done);
        self
    }
    /// The values of the next state from the online network, which choose the action (double DQN).
    pub const fn next_q_online(mut self, next_q_online: &'a [T]) -> Self {
        self.next_q_online = Some(next_q_online);
        self
    }
    /// A weight for each row (importance sampling).
    pub const fn weight(mut self, weight: &'a [T]) -> Self {
        self.weight = Some(weight);
        self
    }
}

/// [`TdInputs`] as views.
#[derive(Clone, Copy)]
pub(crate) struct TdViews<'a, T> {
    pub layout: Layout,
    pub q: In<'a, T>,
    pub action: IndexView<'a>,
    pub reward: In<'a, T>,
    pub done: Option<In<'a, u8>>,
    pub next_q: In<'a, T>,
    pub next_q_online: Option<In<'a, T>>,
    pub weight: Option<In<'a, T>>,
}

impl Td {
    /// Mean squared error of the temporal difference, with the discount factor `gamma`.
    pub const fn mse(gamma: f64) -> Self {
        Td { gamma, delta: None }
    }
    /// Huber's loss of the temporal difference. `delta` must be greater than 0, otherwise calls return
    /// [`Error::InvalidDelta`].
    pub const fn huber(gamma: f64, delta: f64) -> Self {
        Td { gamma, delta: Some(delta) }
    }

    /// The mean loss.
    ///
    /// # Errors
    /// [`Error::TargetOutOfRange`] for an action that is out of range, [`Error::LengthMismatch`],
    /// [`Error::InvalidDelta`], and [`Error::NanOption`] if gamma is NaN.
    pub fn mean<T: Element>(&self, inputs: &TdInputs<'_, T>) -> Result<T, Error> {
        let mut loss = [T::NAN];
        let (context, options, outputs) = (Context::default(), Options::new(), Outputs::new().loss(&mut loss));
        self.eval(&context, inputs, &options, outputs, None)?;
        Ok(loss[0])
    }

    /// The mean loss and its gradient with respect to `q`.
    ///
    /// # Errors
    /// As [`mean`](Self::mean).
    pub fn mean_with_grad<T: Element>(&self, inputs: &TdInputs<'_, T>, grad: &mut [T]) -> Result<T, Error> {
        let mut loss = [T::NAN];
        let (context, options) = (Context::default(), Options::new());
        self.eval(&context, inputs, &options, Outputs::new().loss(&mut loss).grad(grad), None)?;
        Ok(loss[0])
    }

    /// Evaluates with all options. `td_error` receives the target minus q of each row, unscaled and unweighted, for
    /// prioritised replay.
    ///
    /// # Errors
    /// As [`mean`](Self::mean), and [`Error::NanOption`] if `grad_scale` is NaN. After an error nothing was written.
    pub fn eval<T: Element>(
        &self,
        context: &Context,
        inputs: &TdInputs<'_, T>,
        options: &Options,
        outputs: Outputs<'_, T>,
        td_error: Option<&mut [T]>,
    ) -> Result<Summary, Error> {
        let views = inputs.views()?;
        check_elements(&views.layout, "q", inputs.q.len())?;
        let sinks = Sinks::of_classes(outputs, options.reduction, &views.layout)?;
        if let Some(td_error) = &td_error {
            check_length("td_error", td_error.len(), views.layout.samples)?;
        }
        self.run(context, views, options, sinks, td_error.map(Out::from))
    }

    /// Like [`eval`](Self::eval), but overwrites `q` with its gradient. The `q` of `inputs` is not used here and may be
    /// empty.
    ///
    /// # Errors
    /// As [`eval`](Self::eval), and [`Error::PartialOverlap`] with [`accumulate_grad`](Options::accumulate_grad) or if
    /// `outputs` has a gradient of its own.
    pub fn eval_in_place<T: Element>(
        &self,
        context: &Context,
        q: &mut [T],
        inputs: &TdInputs<'_, T>,
        options: &Options,
        outputs: Outputs<'_, T>,
        td_error: Option<&mut [T]>,
    ) -> Result<Summary, Error> {
        let views = inputs.views()?;
        check_elements(&views.layout, "q", q.len())?;
        let (q, grad) = in_place(q);
        let sinks = Sinks::of_classes(outputs, options.reduction, &views.layout)?.with_grad_in_place(options, grad)?;
        if let Some(td_error) = &td_error {
            check_length("td_error", td_error.len(), views.layout.samples)?;
        }
        self.run(context, TdViews { q, ..views }, options, sinks, td_error.map(Out::from))
    }

    /// All calls come through here. The caller has checked the strides, and that no arrays overlap except the gradient
    /// and `q`.
    pub(crate) fn run<T: Element>(
        &self,
        context: &Context,
        views: TdViews<'_, T>,
        options: &Options,
        sinks: Sinks<'_, T>,
        td_error: Option<Out<'_, T>>,
    ) -> Result<Summary, Error> {
        in_environment(|here| self.run_in(here, context, views, options, sinks, td_error))
    }

    fn run_in<'a, T: Element>(
        &self,
        here: Environment,
        context: &Context,
        views: TdViews<'a, T>,
        options: &Options,
        mut sinks: Sinks<'a, T>,
        td_error: Option<Out<'a, T>>,
    ) -> Result<Summary, Error> {
        let formula = match self.delta {
            None => AnyFormula::Mse(Square),
            Some(delta) => AnyFormula::Huber(Hub::new(delta)?),
        };
        options.check()?;
        if self.gamma.is_nan() {
            return Err(Error::NanOption { name: "gamma" });
        }
        let TdViews { layout, q, action, reward, done, next_q, next_q_online, weight } = views;
        let no_weights = WeightView::<T> { class: None, row: None };
        targets::check(here, context, action, layout.classes, None, no_weights)?;
        let divisor = Divisor::count(layout.samples);
        let factor = options.factor(here, formula.factor(), divisor);
        let gamma = T::from_f64(self.gamma);
        let call = Gather {
            source: gather::Td { q, actions: action, reward, done, next_q, next_q_online, weight, gamma, td_error },
            layout,
            loss: if options.reduction == Reduction::None { sinks.loss } else { None },
            grad: sinks.grad,
            hess: sinks.hess,
            least_hess: options.least_hess(here, formula.factor()),
            accumulate: options.accumulate_grad,
            factor,
            needs_total: sinks.needs_total(options.reduction),
        };
        let partial = T::reduce(here, context, Work::Td(formula, &call));
        Ok(sinks.finish(here, options, partial, divisor))
    }
}

impl<T: Element> TdInputs<'_, T> {
    fn views(&self) -> Result<TdViews<'_, T>, Error> {
        let rows = self.reward.len();
        let layout = ClassShape::rows(rows, self.actions).maybe_outer_stride(self.row_stride).layout()?;
        let views = TdViews {
            layout,
            q: self.q.into(),
            action: self.action.into(),
            reward: self.reward.into(),
            done: self.done.map(In::from),
            next_q: self.next_q.into(),
            next_q_online: self.next_q_online.map(In::from),
            weight: self.weight.map(In::from),
        };
        check_length("action", views.action.len(), rows)?;
        check_elements(&layout, "next_q", self.next_q.len())?;
        check_optional("done", views.done, rows)?;
        check_optional("weight", views.weight, rows)?;
        if let Some(online) = self.next_q_online {
            check_elements(&layout, "next_q_online", online.len())?;
        }
        Ok(views)
    }
}
