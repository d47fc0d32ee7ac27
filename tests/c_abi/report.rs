//! What the library says of itself, its last error, its options, and costs.

use std::ptr;

use losskit::{Cost, Isa};

use crate::abi::*;
use crate::functions::Random;

#[test]
fn versions_are_the_crates() {
    // SAFETY: these take nothing
    unsafe {
        assert_eq!(text(lk_version()), env!("CARGO_PKG_VERSION"));
        assert_eq!(lk_abi_version(), 1);
    }
    let header = include_str!("../../include/losskit.h");
    assert!(header.contains("#define LK_ABI_VERSION 1\n"));
    for (part, number) in [
        ("MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
        ("MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        ("PATCH", env!("CARGO_PKG_VERSION_PATCH")),
    ] {
        assert!(header.contains(&format!("#define LK_VERSION_{part} {number}\n")), "{part}");
    }
}

#[test]
fn every_status_has_its_name_and_its_number() {
    let header = include_str!("../../include/losskit.h");
    for (name, status) in STATUSES {
        assert_eq!(status_name(status), name);
        assert!(header.contains(&format!("#define {name} {status}\n")), "{name}");
    }
    for status in [2, -99, i32::MAX, i32::MIN] {
        assert_eq!(status_name(status), "LK_?");
    }
    let known = (-99..99).map(|status| (status_name(status), status)).filter(|(name, _)| name != "LK_?");
    let missing: Vec<_> = known.filter(|(name, _)| !STATUSES.iter().any(|(listed, _)| listed == name)).collect();
    assert!(missing.is_empty(), "tests/c_abi/abi.rs lacks {missing:?}");
}

#[test]
fn the_instruction_set_has_a_name() {
    // SAFETY: NULL is the process default
    let name = unsafe { text(lk_isa_name(ptr::null())) };
    assert_eq!(name, losskit::Context::default().isa().name());
    assert!(Isa::from_name(&name).is_some_and(Isa::is_available));
}

#[test]
fn the_last_error_is_this_threads_own_and_success_leaves_it() {
    let error = |pointer: *mut lk_cost| {
        // SAFETY: refused before it is used
        unsafe { lk_cost_add(pointer, 1.0, 1.0) }
    };
    std::thread::spawn(move || {
        assert_eq!(last_error(), "", "no error yet");
        assert_eq!(error(ptr::null_mut()), LK_NULL_POINTER);
        assert_eq!(last_error(), "into is null");
        std::thread::spawn(move || {
            assert_eq!(last_error(), "", "another thread's error");
            assert_eq!(error(ptr::without_provenance_mut(12)), LK_MISALIGNED);
            assert_eq!(last_error(), "into is not aligned to 8 bytes");
        })
        .join()
        .expect("the thread ends");
        assert_eq!(last_error(), "into is null");
        let mut cost = lk_cost { sum: [0; 72], weight: [0; 72] };
        assert_eq!(error(&mut cost), LK_OK);
        assert_eq!(last_error(), "into is null", "success leaves the last error alone");
        // so does a remark
        let (input, target, mut loss) = ([2.0f32], [1.0], 0.0);
        // SAFETY: one element each
        let status = unsafe {
            let inputs = [input.as_ptr(), target.as_ptr(), ptr::null()];
            let (option, outputs) = (PointwiseOption::number(0.0), [&raw mut loss, ptr::null_mut(), ptr::null_mut()]);
            f32::C.pointwise("bce").call((ptr::null(), 1), inputs, option, ptr::null(), outputs)
        };
        assert_eq!(status, LK_INPUT_OUT_OF_DOMAIN);
        assert_eq!(last_error(), "into is null");
        // a shorter message leaves nothing of a longer one
        assert_eq!(error(ptr::without_provenance_mut(12)), LK_MISALIGNED);
        assert_eq!(error(ptr::null_mut()), LK_NULL_POINTER);
        assert_eq!(last_error(), "into is null");
    })
    .join()
    .expect("the thread ends");
}

#[test]
fn options_init_is_what_the_initialiser_is() {
    let size = size_of::<lk_options>();
    let mut memory = [u64::MAX; 16];
    let options = memory.as_mut_ptr().cast::<lk_options>();
    // SAFETY: there is as much memory as the sizes say, and more
    unsafe {
        assert_eq!(lk_options_init(options, size), LK_OK);
        let lk_options { struct_size, reduction, flags, grad_scale, weight_sum, cost, min_hess } = *options;
        assert_eq!((struct_size, reduction, flags, grad_scale), (size, LK_MEAN, 0, 1.0));
        assert!(weight_sum.is_null() && cost.is_null() && min_hess == 0.0);
        assert_eq!(memory[size / 8], u64::MAX, "nothing beyond the struct is written");
        // a newer caller's struct: what this version does not know is 0
        assert_eq!(lk_options_init(options, size + 16), LK_OK);
        assert_eq!((*options).struct_size, size + 16);
        assert_eq!(memory[size / 8..][..3], [0, 0, u64::MAX]);

        memory = [u64::MAX; 16];
        for too_small in [0, 8, size - 1] {
            assert_eq!(lk_options_init(options, too_small), LK_INVALID_STRUCT_SIZE);
            assert_eq!(last_error(), format!("options.struct_size is {too_small}, at least {size} is needed"));
        }
        assert_eq!(lk_options_init(ptr::null_mut(), size), LK_NULL_POINTER);
        assert_eq!(last_error(), "options is null");
        assert_eq!(lk_options_init(options.byte_add(4), size), LK_MISALIGNED);
        assert_eq!(last_error(), "options is not aligned to 8 bytes");
        assert_eq!(memory, [u64::MAX; 16]);
    }
}

fn empty() -> lk_cost {
    lk_cost { sum: [0; 72], weight: [0; 72] }
}

/// An lk_cost in bits, and as the Rust type.
fn bits(cost: &lk_cost) -> Vec<i64> {
    cost.sum.iter().chain(&cost.weight).copied().collect()
}

#[test]
fn a_cost_does_not_depend_on_the_order_of_batches_and_merges() {
    let mut random = Random(3);
    let batches: Vec<_> = (0..200)
        .map(|i| {
            let scale = [1.0, 1e300, 1e-300, -1e300, 1e-3][i % 5];
            (scale * (random.unit() - 0.3), random.unit())
        })
        .collect();
    let (mut forwards, mut rust) = (empty(), Cost::new());
    let mut parts = [empty(), empty(), empty()];
    // SAFETY: valid costs
    unsafe {
        for (i, &(sum, weight)) in batches.iter().enumerate() {
            assert_eq!(lk_cost_add(&mut forwards, sum, weight), LK_OK);
            rust.add(sum, weight);
            let back = batches[batches.len() - 1 - i];
            assert_eq!(lk_cost_add(&mut parts[i % 3], back.0, back.1), LK_OK);
        }
        let [mut merged, second, third] = parts;
        // merging is adding entry by entry, as MPI_SUM does it, ...
        let mut summed = empty();
        for part in [third, merged, second] {
            summed.sum.iter_mut().zip(part.sum).for_each(|(into, from)| *into += from);
            summed.weight.iter_mut().zip(part.weight).for_each(|(into, from)| *into += from);
        }
        // ... or lk_cost_merge
        assert_eq!(lk_cost_merge(&mut merged, &third), LK_OK);
        assert_eq!(lk_cost_merge(&mut merged, &second), LK_OK);
        let mean = lk_cost_mean(&forwards);
        assert!(mean.is_finite() && mean != 0.0);
        assert_eq!(mean.to_bits(), lk_cost_mean(&merged).to_bits());
        assert_eq!(mean.to_bits(), lk_cost_mean(&summed).to_bits());
        assert_eq!(mean.to_bits(), rust.mean().to_bits());
        assert_eq!(bits(&forwards), bits(&merged));
        // SAFETY: a Cost is an lk_cost
        let rust: lk_cost = std::mem::transmute_copy(&rust);
        assert_eq!(bits(&forwards), bits(&rust));

        // with itself: twice the sum, twice the weight
        let own = &raw mut merged;
        assert_eq!(lk_cost_merge(own, own), LK_OK);
        assert_eq!(mean.to_bits(), lk_cost_mean(&merged).to_bits());
        assert_ne!(bits(&forwards), bits(&merged));
    }
}

#[test]
fn costs_of_nothing_and_of_what_is_no_number() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    for (batches, mean) in [
        (&[][..], nan),
        (&[(0.0, 0.0)], nan),
        (&[(3.0, 2.0), (1.0, 2.0)], 1.0),
        (&[(inf, 1.0), (1.0, 1.0)], inf),
        (&[(-inf, 1.0), (1.0, 1.0)], -inf),
        (&[(inf, 1.0), (-inf, 1.0)], nan),
        (&[(nan, 1.0), (1.0, 1.0)], nan),
    ] {
        let mut cost = empty();
        // SAFETY: a valid cost
        let got = unsafe {
            for &(sum, weight) in batches {
                assert_eq!(lk_cost_add(&mut cost, sum, weight), LK_OK);
            }
            lk_cost_mean(&cost)
        };
        assert!(got == mean || (got.is_nan() && mean.is_nan()), "{batches:?} gives {got}");
    }
}

#[test]
fn costs_at_bad_addresses_are_refused() {
    let mut cost = empty();
    let odd = ptr::without_provenance_mut::<lk_cost>(12);
    let end = ptr::without_provenance_mut::<lk_cost>(usize::MAX - 7);
    // SAFETY: refused before they are used
    unsafe {
        for (bad, status, words) in [
            (ptr::null_mut(), LK_NULL_POINTER, "is null"),
            (odd, LK_MISALIGNED, "is not aligned to 8 bytes"),
            (end, LK_SIZE_TOO_LARGE, "would take more bytes than an address can count"),
        ] {
            assert_eq!(lk_cost_add(bad, 1.0, 1.0), status);
            assert_eq!(last_error(), format!("into {words}"));
            assert_eq!(lk_cost_merge(bad, &cost), status);
            assert_eq!(last_error(), format!("into {words}"));
            assert_eq!(lk_cost_merge(&mut cost, bad), status);
            assert_eq!(last_error(), format!("from {words}"));
            for number in [lk_cost_mean, lk_cost_perplexity] {
                assert!(number(bad).is_nan());
                assert_eq!(last_error(), format!("of {words}"));
            }
        }
    }
    assert_eq!(bits(&cost), bits(&empty()));
}
