//! Whose turn it is.

use proptest::prelude::*;

use super::*;

#[test]
fn priorities_come_first_then_who_has_least_then_who_waited_longest() {
    let turns = [
        Turn::new(1, -5, 900, 900),
        Turn::new(0, 7, 50, 9),
        Turn::new(0, 0, 0, 8),
        Turn::new(0, 0, 3, 1),
        Turn::new(0, 0, 3, 2),
        Turn::new(0, -1, 0, 0),
    ];
    assert!(turns.is_sorted());
}

/// Serves jobs of so many items on so many machines, each item for one round, and says in which
/// round each job was done.
fn serve(sizes: &[u64], slots: u64) -> Vec<u64> {
    let mut left = sizes.to_vec();
    let mut served = vec![0; sizes.len()];
    let mut done = vec![0; sizes.len()];
    let mut count = 0;
    for round in 1.. {
        let mut running = vec![0; sizes.len()];
        for _ in 0..slots {
            let waiting = (0..sizes.len()).filter(|job| left[*job] > 0);
            let next =
                waiting.min_by_key(|job| (Turn::new(0, 0, running[*job], served[*job]), *job));
            let Some(job) = next else { return done };
            count += 1;
            left[job] -= 1;
            running[job] += 1;
            served[job] = count;
            done[job] = round;
        }
        if left.iter().all(|left| *left == 0) {
            return done;
        }
    }
    done
}

#[test]
fn huge_job_does_not_starve_a_small_one() {
    let done = serve(&[100_000, 10], 4);
    // Alone it would take 3 rounds; sharing with one other, it takes 5.
    assert_eq!(done[1], 5);
}

proptest! {
    #[test]
    fn job_waits_no_longer_than_its_share_takes(
        sizes in prop::collection::vec(1_u64..200, 1..6),
        slots in 1_u64..9,
    ) {
        let jobs = sizes.len() as u64;
        for (size, done) in sizes.iter().zip(serve(&sizes, slots)) {
            // Its items among as many of each of the others, and one round for the remainder.
            let fair = (size * jobs).div_ceil(slots) + 1;
            prop_assert!(done <= fair, "{} rounds for {} of {:?}", done, size, sizes);
        }
    }
}
