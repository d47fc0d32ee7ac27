//! The loss of Q-learning.

use core::ffi::c_void;

use super::element_types::for_each_element_type;
use super::memory::{INDEX_TYPES, Memory, context, index_view, view, view_mut, view_optional};
use super::types::{lk_context, lk_dtype, lk_options, lk_status, lk_td_params, lk_td_shape};
use crate::error::Error;
use crate::loss::{Element, Td, TdViews};

/// The arguments of a call.
struct Call<T> {
    ctx: *const lk_context,
    shape: *const lk_td_shape,
    q: *const T,
    action_type: lk_dtype,
    action: *const c_void,
    reward: *const T,
    done: *const u8,
    next_q: *const T,
    next_q_online: *const T,
    weight: *const T,
    opts: *const lk_options,
    loss: *mut T,
    grad: *mut T,
    hess: *mut T,
    td_error: *mut T,
}

impl<T: Element> Call<T> {
    /// # Safety
    /// As for the C function: pointers that are not NULL are valid for what it reads or writes there.
    unsafe fn evaluate(self, td: Td) -> Result<lk_status, Error> {
        // SAFETY: the caller's promise
        let options = unsafe { lk_options::read(self.opts) }?;
        // SAFETY: the caller's promise
        let layout = unsafe { lk_td_shape::read(self.shape) }?;
        let (batch, elements) = (layout.samples, layout.elements);
        let mut memory = Memory::new(&options);
        memory.shape(layout);
        memory.input_shaped("q", self.q)?;
        memory.indices("action", self.action_type, INDEX_TYPES, self.action, batch)?;
        memory.input("reward", self.reward, batch)?;
        memory.input_optional("done", self.done, batch)?;
        memory.input_shaped("next_q", self.next_q)?;
        memory.input_shaped_optional("next_q_online", self.next_q_online)?;
        memory.input_optional("weight", self.weight, batch)?;
        memory.outputs(self.loss, self.grad, self.hess, batch)?;
        memory.output_optional("td_error", self.td_error, batch)?;
        memory.check(("q", "grad"))?;
        // SAFETY: not NULL where elements are needed, aligned, of a size that memory can have, and nothing
        // overlaps but what may; that it is valid is the caller's promise
        unsafe {
            let views = TdViews {
                layout,
                q: view(self.q, elements),
                action: index_view(self.action_type, self.action, batch)?,
                reward: view(self.reward, batch),
                done: view_optional(self.done, batch),
                next_q: view(self.next_q, elements),
                next_q_online: view_optional(self.next_q_online, elements),
                weight: view_optional(self.weight, batch),
            };
            let sinks = options.sinks(self.loss, self.grad, self.hess, batch, elements);
            let td_error = if self.td_error.is_null() { None } else { Some(view_mut(self.td_error, batch)) };
            let summary = td.run(context(self.ctx), views, &options.options, sinks, td_error)?;
            Ok(options.finish(summary))
        }
    }
}

for_each_element_type! {
    /// The temporal-difference loss of (deep, double) Q-learning (Mnih et al., 2015; van Hasselt et al., 2016).
    ///
    /// target = reward + gamma (1 - done) max over a' of next_q[a'], or, if `next_q_online` is given (double DQN),
    /// next_q at the argmax over a' of next_q_online[a']. With d = q[action] - target: loss = d^2 (LK_TD_MSE) or
    /// huber(d) (LK_TD_HUBER); gradient and Hessian are those of this loss at the action and 0 elsewhere; td_error =
    /// -d, unscaled and unweighted. No gradient flows through the target. For n-step returns pass gamma^n as gamma.
    ///
    /// Accuracy: the difference between target and q may nearly cancel. With t the largest of |reward|, gamma |next_q|,
    /// |q| and |d|, the gradient is within 4 units in the last place of t times the second derivative, and the loss is
    /// within 4 units of the larger of itself and t times the slope.
    ///
    /// `q`, `next_q`, `next_q_online`, `grad` and `hess` are [batch][actions] with the stride of the shape. `action`
    /// (of an integer type of lk_dtype), `reward`, `done`, `weight` and `td_error` have `batch` elements. `next_q_online`,
    /// `done` and `weight` may be NULL. `done` is not 0 if the episode ended; NULL means that none did. Without
    /// `weight` all weights are 1.
    ///
    /// If a row is done, its next_q is not read. If gamma is 0, next_q has no influence, even if it is infinite or NaN.
    /// The argmax is the first maximum; a NaN counts as the maximum. An action outside of 0 to actions - 1 gives
    /// LK_TARGET_OUT_OF_RANGE. LK_MEAN divides by `batch`, with or without weights. `loss` is one element, or `batch`
    /// elements for LK_NONE; `grad` may be `q` itself. Each output may be NULL, and so may `params` and `opts`.
    fn td(
        ctx: *const lk_context,
        shape: *const lk_td_shape,
        q: *const T,
        action_type: lk_dtype,
        action: *const c_void,
        reward: *const T,
        done: *const u8,
        next_q: *const T,
        next_q_online: *const T,
        weight: *const T,
        params: *const lk_td_params,
        opts: *const lk_options,
        loss: *mut T,
        grad: *mut T,
        hess: *mut T,
        td_error: *mut T,
    ) {
        let loss_of = lk_td_params::read(params)?;
        let call = Call {
            ctx,
            shape,
            q,
            action_type,
            action,
            reward,
            done,
            next_q,
            next_q_online,
            weight,
            opts,
            loss,
            grad,
            hess,
            td_error,
        };
        call.evaluate(loss_of)
    }
}
