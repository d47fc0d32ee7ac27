use losskit::*;
fn main() {
    let mut lp = [0f64; 2];
    LogSoftmax::new().eval(&Context::default(), ClassShape::rows(1, 2), &[50.0, 0.0], &mut lp).unwrap();
    println!("{lp:?}");
    for isa in [Isa::Scalar, Isa::Avx2, Isa::Avx512] {
        let c = Context::with_threads(1).cap_isa(isa);
        LogSoftmax::new().eval(&c, ClassShape::rows(1, 2), &[50.0, 0.0], &mut lp).unwrap();
        println!("{isa:?} {lp:?}");
        let mut lq = [0f32; 2];
        LogSoftmax::new().eval(&c, ClassShape::rows(1, 2), &[50.0, 0.0], &mut lq).unwrap();
        println!("{lq:?}");
        let l = CrossEntropy::new().mean(ClassShape::rows(1, 2), &[100.0f64, 0.0], Targets::U8(&[0])).unwrap();
        println!("{l} {}", (-100f64).exp());
        let mut g = [0f32; 2];
        let l = BceWithLogits::new().mean_with_grad(&[0.0, 50.0], &[1.0, 1.0], &mut g).unwrap();
        println!("{l:e} {g:?}");
    }
}
