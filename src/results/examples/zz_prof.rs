use helix_results::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let f = &a[1];
    let n: usize = a[2].parse().unwrap();
    for _ in 0..n {
        let mut t = Tally::new(TallyLimits::default());
        let s = std::time::Instant::now();
        t.add_file(
            &mut std::fs::File::open(f).unwrap(),
            f,
            &Limits::default(),
            &|| false,
        )
        .unwrap();
        let m = std::fs::metadata(f).unwrap().len() as f64 / 1e6;
        println!(
            "{} {:.0} MB/s",
            t.counts().total(),
            m / s.elapsed().as_secs_f64()
        );
    }
}
