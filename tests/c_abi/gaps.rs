//! Arrays may lie in the gaps of others: what shares no element is taken, and gives what it gives elsewhere.

use std::collections::HashSet;
use std::ptr;

use crate::abi::*;
use crate::functions::{Dims, Frame, Random, Strides, all_functions};

/// Where the elements of an array of this shape are, from its first.
fn places(dims: &Dims) -> Vec<usize> {
    let Dims { outer, classes, .. } = *dims;
    let Strides { outer: of_outer, class, rows, stride, length } = dims.strides();
    let starts = (0..outer).flat_map(|o| (0..classes).map(move |c| o * of_outer + c * class));
    let starts = starts.flat_map(|start| (0..rows).map(move |row| start + row * stride));
    starts.flat_map(|start| start..start + length).collect()
}

/// A shape that is dense, has gaps of any kind, is a crop, or whose classes enclose its rows.
fn any_dims(random: &mut Random) -> Dims {
    let mut below = |n: u64| (random.bits() % n) as usize;
    let (outer, classes, length) = (1 + below(4), 1 + below(4), [1, 1, 2, 3][below(4)]);
    let (rows, gap) = ([1, 1, 1, 2, 3][below(5)], below(4));
    let crop = if rows == 1 { [0; 2] } else { [length, length + gap] };
    let dims = Dims { inner: rows * length, crop, ..Dims::rows(outer, classes) };
    with_any_strides(random, dims)
}

fn with_any_strides(random: &mut Random, dims: Dims) -> Dims {
    let mut below = |n: u64| (random.bits() % n) as usize;
    let (class_gap, outer_gap) = ([0, 0, 1, 5][below(4)], [0, 0, 2, 7, 30][below(5)]);
    // of the elements of one class
    let span = Dims { class_stride: 0, ..dims }.strides().class;
    if below(4) == 0 {
        let outer_stride = span + class_gap;
        return Dims { outer_stride, class_stride: dims.outer * outer_stride + outer_gap, ..dims };
    }
    let class_stride = span + class_gap;
    Dims { outer_stride: dims.classes * class_stride + outer_gap, class_stride, ..dims }
}

/// softmax's output wherever it may be about its input, with the same strides or its own.
fn softmax_about_its_input<T: Real>() {
    let (mut random, mut interleaved) = (Random(7), 0);
    for _ in 0..400 {
        let dims = any_dims(&mut random);
        let own = with_any_strides(&mut random, Dims { crop: [0; 2], ..dims });
        let grad = if random.bits().is_multiple_of(2) { [0; 2] } else { [own.outer_stride, own.class_stride] };
        let to = Dims { grad, ..dims };
        let is_own = to.has_own_grad();
        let (places, places_to) = (places(&dims), places(&to.of_grad()));
        let [input_span, output_span] =
            [&places, &places_to].map(|places| places.iter().max().expect("an element") + 1);
        let span = input_span.max(output_span);
        let shape = dims.c_shape();
        let logits: Vec<T> = (0..span).map(|_| T::of(random.unit())).collect();
        let [mut alike, mut apart] = [vec![T::of(7.0); span], vec![T::of(7.0); span]];
        // SAFETY: arrays of the shape's elements
        let status = unsafe { (T::C.softmax)(ptr::null(), &shape, logits.as_ptr(), alike.as_mut_ptr()) };
        assert_eq!(status, LK_OK, "{dims:?}");
        let shape = to.c_shape();
        // SAFETY: the same
        let status = unsafe { (T::C.softmax)(ptr::null(), &shape, logits.as_ptr(), apart.as_mut_ptr()) };
        assert_eq!(status, LK_OK, "{dims:?} {to:?}");
        for (place, place_to) in places.iter().zip(&places_to) {
            assert_eq!(apart[*place_to].bits(), alike[*place].bits(), "{dims:?} {to:?}");
        }
        for offset in 0..2 * span {
            // the input begins at `span`, the output at `offset`
            let mut memory = vec![T::of(9.0); 3 * span];
            memory[span..2 * span].copy_from_slice(&logits);
            let before: Vec<u64> = memory.iter().map(|x| x.bits()).collect();
            let name = format!("{dims:?} {to:?}, {offset} for {span}");
            let base = memory.as_mut_ptr();
            // SAFETY: both within the memory
            let status = unsafe { (T::C.softmax)(ptr::null(), &shape, base.add(span), base.add(offset)) };
            let inputs: HashSet<usize> = places.iter().map(|place| span + place).collect();
            let outputs: Vec<usize> = places_to.iter().map(|place| offset + place).collect();
            let shares = (offset != span || is_own) && outputs.iter().any(|place| inputs.contains(place));
            assert_eq!(status, if shares { LK_PARTIAL_OVERLAP } else { LK_OK }, "{name}");
            interleaved += usize::from(!shares && offset > 0 && offset < 2 * span && offset != span);
            let mut expected = before;
            if !shares {
                places_to.iter().for_each(|&place| expected[offset + place] = apart[place].bits());
            }
            let after: Vec<u64> = memory.iter().map(|x| x.bits()).collect();
            assert_eq!(after, expected, "{name}");
        }
    }
    assert!(interleaved > 1000, "{interleaved}");
}

#[test]
fn arrays_that_share_no_element_are_taken_and_all_others_refused() {
    softmax_about_its_input::<f32>();
    softmax_about_its_input::<f64>();
}

/// Bytes of outputs, each element of which stands where the shape says.
fn elements_of(frame: &Frame, name: &str, places: &[usize], size: usize) -> Vec<u8> {
    let base = frame.at::<u8>(name);
    // SAFETY: within the frame
    let byte = |at: usize| unsafe { base.add(at).read() };
    places.iter().flat_map(|place| (place * size..(place + 1) * size).map(byte)).collect()
}

/// Gradient, Hessian and losses between the rows of the input, of every loss over classes.
#[test]
fn outputs_between_the_rows_of_the_input_are_what_they_are_elsewhere() {
    const DIMS: [Dims; 3] = [
        Dims { outer_stride: 24, ..Dims::rows(6, 3) },
        Dims { outer_stride: 300, ..Dims::rows(3, 50) },
        Dims { outer_stride: 200, ..Dims::rows(34, 37) },
    ];
    let mut calls = 0;
    for dims in DIMS {
        let rows = dims.outer;
        let (gradient, hessian, losses) = (dims.classes + 1, 2 * dims.classes + 1, 3 * dims.classes + 2);
        for (function, index_type) in all_functions(dims) {
            let Some((input, output)) = function.in_place.filter(|_| function.has("shape")) else { continue };
            let size = function.array(output).size;
            let mut frame = Frame::new(&function, &dims, index_type);
            let before = frame.snapshot();
            let reductions: &[i32] = if function.has("opts") { &[LK_MEAN, LK_NONE] } else { &[LK_MEAN] };
            for &reduction in reductions {
                frame.restore(&before);
                if function.has("opts") {
                    frame.edit::<lk_options>("opts").reduction = reduction;
                }
                let with_reduction = frame.snapshot();
                let each = if reduction == LK_NONE { rows } else { 1 };
                let all = |frame: &Frame| {
                    let mut results = vec![elements_of(frame, output, &places(&dims), size)];
                    for (name, places) in [("hess", places(&dims)), ("loss", (0..each).collect())] {
                        if function.has(name) {
                            results.push(elements_of(frame, name, &places, size));
                        }
                    }
                    results
                };
                assert_eq!(function.call(&frame), LK_OK, "{}: {}", function.name, last_error());
                let apart = all(&frame);
                frame.restore(&with_reduction);
                let names = [output, "hess", "loss"].into_iter().filter(|name| function.has(name));
                let own: Vec<_> = names.map(|name| (name, frame.at::<u8>(name))).collect();
                let base = frame.at::<u8>(input);
                frame.put(output, base.wrapping_add(gradient * size));
                if function.has("hess") {
                    frame.put("hess", base.wrapping_add(hessian * size));
                }
                // as many losses as fit behind them
                let fits = losses + each <= dims.outer_stride;
                if function.has("loss") && fits {
                    frame.put("loss", base.wrapping_add(losses * size));
                }
                assert_eq!(function.call(&frame), LK_OK, "{} between rows: {}", function.name, last_error());
                assert!(all(&frame) == apart, "{} between rows", function.name);
                // one element further or less far, and they share one
                frame.restore(&with_reduction);
                let start = frame.snapshot();
                for (name, at) in [(output, dims.classes - 1), (output, dims.outer_stride - 1), ("loss", 2)] {
                    if !function.has(name) {
                        continue;
                    }
                    let place = frame.at(name);
                    frame.put(name, base.wrapping_add(at * size));
                    assert_eq!(function.call(&frame), LK_PARTIAL_OVERLAP, "{}: {name} at {at}", function.name);
                    assert!(frame.snapshot() == start, "{} touched memory", function.name);
                    frame.put(name, place);
                }
                own.into_iter().for_each(|(name, place)| frame.put(name, place));
                calls += 1;
            }
        }
    }
    assert!(calls > 100, "{calls}");
}
