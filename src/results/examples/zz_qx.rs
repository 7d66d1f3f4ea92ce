use quick_xml::events::Event;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let f = std::io::BufReader::with_capacity(256 << 10, std::fs::File::open(&a[1]).unwrap());
    let mut r = quick_xml::Reader::from_reader(f);
    let mut b = Vec::new();
    let mut n = 0;
    loop {
        b.clear();
        match r.read_event_into(&mut b) {
            Ok(Event::Eof) | Err(_) => break,
            Ok(e) => {
                std::hint::black_box(&e);
                n += 1;
            }
        }
    }
    println!("{n}");
}
