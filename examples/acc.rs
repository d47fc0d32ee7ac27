use losskit::simd::*;
#[derive(Clone,Copy)]
struct Map<'a>(u8,&'a [f32],&'a std::cell::RefCell<Vec<f32>>);
impl Kernel for Map<'_>{ type Output=(); 
 fn run<S:Lanes>(self,s:S){ let mut o=self.2.borrow_mut(); let i=view::In::from(self.1); let ov=view::Out::from(&mut o[..]);
  let mut at=0; while at<self.1.len(){ let g=i.group(at); let og=ov.group(at); for k in 0..Pack::<S,f32>::PER_GROUP{ let x=g.load(s,k); let z=x.c(0.0);
   og.store(k, match self.0 {0=>exp(x),1=>log(x),2=>log1p(x),_=>exp_non_positive(x,z)}); } at+=32; } } }
fn ulp(got:f32,exact:f64)->f64{ 
  if exact.is_nan()||got.is_nan(){ return if exact.is_nan()==got.is_nan(){0.0}else{f64::INFINITY}; }
  if got.is_infinite()||(exact as f32).is_infinite(){ return if got==(exact as f32){0.0}else{f64::INFINITY}; }
  let e=(exact.abs() as f32).max(f32::MIN_POSITIVE); let mut ex=(e.to_bits()>>23) as i32-127-23; if (exact.abs())<e as f64 && e.to_bits()&0x7fffff==0 && e>f32::MIN_POSITIVE {ex-=1;}
  (got as f64-exact).abs()/2f64.powi(ex) }
fn main(){
 let step:u64=std::env::args().nth(1).and_then(|s|s.parse().ok()).unwrap_or(1);
 for (name,f) in [("exp",0u8),("log",1),("log1p",2),("exp_np",3)] {
  let mut worst=(0.0,0f32,0f32);
  let isa=Isa::best();
  let mut b=0u64; let n=1<<16;
  while b < 1<<32 { let xs:Vec<f32>=(0..n).map(|i| f32::from_bits((b+i*step) as u32)).map(|x| if f==3 {-x.abs()} else {x}).collect();
   let out=std::cell::RefCell::new(vec![0f32;n as usize]);
   isa.dispatch(Map(f,&xs,&out));
   let out=out.into_inner();
   for (x,y) in xs.iter().zip(&out){ let xd=*x as f64; let e=match f{0|3=>xd.exp(),1=>xd.ln(),_=>xd.ln_1p()}; let u=ulp(*y,e); if u>worst.0{worst=(u,*x,*y);} }
   b+=n*step; }
  println!("{name}: worst {} at {:e} got {:e}",worst.0,worst.1,worst.2);
 }
}
