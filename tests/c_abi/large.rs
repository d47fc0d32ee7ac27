//! More than 2^31 elements, and more than 2^32 bytes, by strides: address space without memory behind it.

use std::ffi::{c_int, c_void};
use std::ptr;

use crate::abi::*;

unsafe extern "C" {
    fn mmap(address: *mut c_void, len: usize, protection: c_int, flags: c_int, file: c_int, offset: i64)
    -> *mut c_void;
    fn munmap(address: *mut c_void, len: usize) -> c_int;
}

/// Zeros, of which only what is written takes memory.
struct Sparse<T> {
    elements: *mut T,
    len: usize,
}

impl<T: Copy> Sparse<T> {
    fn new(len: usize) -> Self {
        const READ_WRITE: c_int = 1 | 2;
        const PRIVATE_ANONYMOUS_NORESERVE: c_int = 0x2 | 0x20 | 0x4000;
        // SAFETY: a mapping of its own
        let elements =
            unsafe { mmap(ptr::null_mut(), len * size_of::<T>(), READ_WRITE, PRIVATE_ANONYMOUS_NORESERVE, -1, 0) };
        assert_ne!(elements.addr(), usize::MAX, "address space");
        Sparse { elements: elements.cast(), len }
    }
    fn set(&mut self, at: usize, value: T) {
        assert!(at < self.len);
        // SAFETY: within the mapping
        unsafe { self.elements.add(at).write(value) };
    }
    fn get(&self, at: usize) -> T {
        assert!(at < self.len);
        // SAFETY: within the mapping, zeros at least
        unsafe { self.elements.add(at).read() }
    }
}

impl<T> Drop for Sparse<T> {
    fn drop(&mut self) {
        // SAFETY: made by `new`
        unsafe { munmap(self.elements.cast(), self.len * size_of::<T>()) };
    }
}

const FAR: usize = (1 << 31) + 77;

fn class_shape(outer: usize, classes: usize, inner: usize, outer_stride: usize, class_stride: usize) -> lk_class_shape {
    lk_class_shape { inner, outer_stride, class_stride, ..lk_class_shape::rows(outer, classes) }
}

/// LK_OPTIONS_INIT, but for the reduction.
fn options(reduction: i32) -> lk_options {
    lk_options {
        struct_size: size_of::<lk_options>(),
        reduction,
        flags: 0,
        grad_scale: 1.0,
        weight_sum: ptr::null_mut(),
        cost: ptr::null_mut(),
        min_hess: 0.0,
    }
}

/// The same logits near each other and far apart give the same bits, losses, gradients and all.
fn far_is_as_near<T: Real>(near: lk_class_shape, far: lk_class_shape) {
    let samples = near.outer * near.inner;
    let offset =
        |shape: &lk_class_shape, o: usize, c: usize, i: usize| o * shape.outer_stride + c * shape.class_stride + i;
    let len = |shape: &lk_class_shape| offset(shape, shape.outer - 1, shape.classes - 1, shape.inner - 1) + 1;
    let targets: Vec<i64> = (0..samples).map(|sample| (sample * 5 % near.classes) as i64).collect();
    let options = options(LK_NONE);
    let run = |shape: &lk_class_shape| {
        let (mut logits, grad) = (Sparse::<T>::new(len(shape)), Sparse::<T>::new(len(shape)));
        let places = || {
            (0..shape.outer).flat_map(move |o| {
                (0..shape.classes).flat_map(move |c| (0..shape.inner).map(move |i| offset(shape, o, c, i)))
            })
        };
        for (j, at) in places().enumerate() {
            logits.set(at, T::of((j * 37 % 101) as f64 / 16.0 - 3.0));
        }
        let mut losses = vec![T::of(0.0); samples];
        let mut results = Vec::new();
        // SAFETY: memory of these shapes
        unsafe {
            let (loss, no, targets) = (losses.as_mut_ptr(), ptr::null_mut(), targets.as_ptr().cast());
            for call in 0..2 {
                // the second in place
                let grad_at = if call == 0 { grad.elements } else { logits.elements };
                let status = (T::C.cross_entropy)(
                    ptr::null(),
                    shape,
                    logits.elements,
                    LK_I64,
                    targets,
                    ptr::null(),
                    ptr::null(),
                    ptr::null(),
                    &options,
                    loss,
                    grad_at,
                    no,
                );
                assert_eq!(status, LK_OK, "{}", last_error());
                results.extend(losses.iter().map(|loss| loss.bits()));
                let out = if call == 0 { &grad } else { &logits };
                results.extend(places().map(|at| out.get(at).bits()));
            }
            assert_eq!((T::C.softmax)(ptr::null(), shape, grad.elements, grad.elements), LK_OK);
            results.extend(places().map(|at| grad.get(at).bits()));
            let status =
                (T::C.log_softmax_backward)(ptr::null(), shape, grad.elements, logits.elements, logits.elements);
            assert_eq!(status, LK_OK);
            results.extend(places().map(|at| logits.get(at).bits()));
            let status = (T::C.nll)(
                ptr::null(),
                shape,
                grad.elements,
                LK_I64,
                targets,
                ptr::null(),
                ptr::null(),
                ptr::null(),
                &options,
                loss,
                logits.elements,
                no,
            );
            assert_eq!(status, LK_OK);
            results.extend(losses.iter().map(|loss| loss.bits()));
            results.extend(places().map(|at| logits.get(at).bits()));
        }
        // what lies between is never touched
        let gaps = [FAR / 2, FAR - 1, shape.classes * shape.inner + 3];
        for at in gaps.into_iter().filter(|&at| at < len(shape) && places().all(|place| place != at)) {
            assert_eq!((logits.get(at).bits(), grad.get(at).bits()), (0, 0));
        }
        results
    };
    assert!(len(&far) > 1 << 31);
    assert_eq!(run(&near), run(&far));
}

#[test]
fn rows_may_lie_more_than_2_to_the_31_elements_apart() {
    far_is_as_near::<f32>(class_shape(4, 10, 1, 10, 1), class_shape(4, 10, 1, FAR, 1));
    far_is_as_near::<f64>(class_shape(3, 100, 1, 100, 1), class_shape(3, 100, 1, FAR, 1));
}

#[test]
fn classes_may_lie_more_than_2_to_the_31_elements_apart() {
    // columns
    far_is_as_near::<f32>(class_shape(1, 4, 70, 280, 70), class_shape(1, 4, 70, 4 * FAR, FAR));
    far_is_as_near::<f64>(class_shape(2, 3, 5, 15, 5), class_shape(2, 3, 5, 3 * FAR, FAR));
    // rows within classes
    far_is_as_near::<f32>(class_shape(6, 3, 1, 1, 6), class_shape(6, 3, 1, 1, FAR));
}

#[test]
fn td_rows_may_lie_more_than_2_to_the_31_elements_apart() {
    fn run<T: Real>(row_stride: usize) -> Vec<u64> {
        let (batch, actions) = (3, 5);
        let len = (batch - 1) * row_stride + actions;
        let (mut q, mut next_q, mut online) = (Sparse::<T>::new(len), Sparse::<T>::new(len), Sparse::<T>::new(len));
        let grad = Sparse::<T>::new(len);
        let places = || (0..batch).flat_map(move |row| (0..actions).map(move |a| row * row_stride + a));
        for (j, at) in places().enumerate() {
            q.set(at, T::of((j * 7 % 11) as f64));
            next_q.set(at, T::of((j * 5 % 13) as f64));
            online.set(at, T::of((j * 3 % 7) as f64));
        }
        let (action, reward) = ([4u8, 0, 2], [1.0, -1.0, 0.5].map(T::of));
        let mut losses = [T::of(0.0); 3];
        let shape = lk_td_shape { struct_size: size_of::<lk_td_shape>(), batch, actions, row_stride };
        let options = options(LK_NONE);
        // SAFETY: memory of this shape
        let status = unsafe {
            let (no, null) = (ptr::null_mut(), ptr::null());
            (T::C.td)(
                ptr::null(),
                &shape,
                q.elements,
                LK_U8,
                action.as_ptr().cast(),
                reward.as_ptr(),
                ptr::null(),
                next_q.elements,
                online.elements,
                null,
                ptr::null(),
                &options,
                losses.as_mut_ptr(),
                grad.elements,
                no,
                no,
            )
        };
        assert_eq!(status, LK_OK, "{}", last_error());
        let losses = losses.map(T::bits);
        losses.into_iter().chain(places().map(|at| grad.get(at).bits())).collect()
    }
    assert_eq!(run::<f32>(5), run::<f32>(FAR));
    assert_eq!(run::<f64>(5), run::<f64>(FAR));
}

/// Reads 8 GB of zeros, which are one page of memory over and over.
#[test]
fn pointwise_losses_take_more_than_2_to_the_31_elements() {
    let n = (1 << 31) + 1000;
    let mut numbers = Sparse::<f32>::new(n + 1);
    // each number is input once and target once
    numbers.set(1 << 31, 3.0);
    numbers.set(n, 5.0);
    let (mut loss, mut weight_sum, mut cost) = (0.0f32, 0.0, lk_cost { sum: [0; 72], weight: [0; 72] });
    let options = lk_options { weight_sum: &mut weight_sum, cost: &mut cost, ..options(LK_SUM) };
    // SAFETY: n elements from either pointer on
    let status = unsafe {
        let inputs = [numbers.elements.add(1).cast_const(), numbers.elements, ptr::null()];
        let (option, outputs) = (PointwiseOption::number(0.0), [&raw mut loss, ptr::null_mut(), ptr::null_mut()]);
        f32::C.pointwise("mse").call((ptr::null(), n), inputs, option, &options, outputs)
    };
    assert_eq!(status, LK_OK, "{}", last_error());
    assert_eq!((loss, weight_sum), (9.0 + 9.0 + 25.0, n as f64));
    // SAFETY: a valid cost
    assert_eq!(unsafe { lk_cost_mean(&cost) }, 43.0 / n as f64);
}
