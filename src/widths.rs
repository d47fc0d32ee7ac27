//! The digests of `tests/same_bits.rs`, on vector types that no instruction set dispatches to.

#[path = "../tests/workload/mod.rs"]
mod workload;

use crate::{Context, Isa};

#[test]
fn bits_do_not_depend_on_the_width_of_vectors() {
    for isa in [Isa::Scalar128, Isa::Scalar256, Isa::Scalar512] {
        let digests = workload::digests(&Context::with_isa(isa));
        let text: String = digests.iter().map(|(name, digest)| format!("{digest:016x} {name}\n")).collect();
        assert_eq!(text, include_str!("../tests/same_bits.txt"), "{}", isa.name());
    }
}
