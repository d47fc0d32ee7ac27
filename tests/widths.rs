//! The digests of `tests/same_bits.rs`, on vector types that no instruction set dispatches to.
//! With feature `widths`, whose library walks large arrays at several places on every CPU: `large_arrays.rs` is part of this.

#[path = "large_arrays.rs"]
mod large_arrays;
#[path = "workload/mod.rs"]
mod workload;

use losskit::{Context, Isa};

#[test]
fn bits_do_not_depend_on_the_width_of_vectors() {
    for isa in [Isa::Scalar128, Isa::Scalar256, Isa::Scalar512] {
        let recorded = include_str!("same_bits.txt");
        let text = workload::text(workload::digests(&Context::with_isa(isa)), recorded);
        assert_eq!(text, recorded, "{}", isa.name());
    }
}
