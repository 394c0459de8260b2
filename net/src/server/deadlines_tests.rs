use super::*;

const ID: ConnId = ConnId { slot: 1, generation: 0 };

fn limits() -> Limits {
    Limits {
        hello_deadline_ms: 10,
        partial_deadline_ms: 20,
        idle_deadline_ms: 100,
        slow_reader_deadline_ms: 50,
        ..Limits::default()
    }
}

fn ms(ms: u64) -> Nanos {
    Nanos(ms * 1_000_000)
}

fn connection() -> Connection {
    Connection::new(std::fs::File::open("/dev/null").unwrap().into(), None, ms(0))
}

/// When, and why, the connection is closed if nothing happens any more.
fn end(deadlines: &mut Deadlines, connection: &mut Connection, standing: Standing) -> (Nanos, Cut) {
    loop {
        let now = deadlines.next().expect("it is watched");
        let entry = deadlines.pop_due(now).unwrap();
        if let Verdict::Close(cut) = deadlines.judge(entry, connection, (standing, 0), now) {
            return (now, cut);
        }
    }
}

#[test]
fn a_silent_newcomer_goes_and_one_who_stops_within_a_frame() {
    let mut deadlines = Deadlines::new(limits());
    let mut new = connection();
    deadlines.watch(ID, &mut new, Standing::New, ms(0));
    assert_eq!(end(&mut deadlines, &mut new, Standing::New), (ms(10), Cut::Hello));
    let mut half = connection();
    half.partial.push(1);
    half.progress_at = ms(5);
    deadlines.watch(ID, &mut half, Standing::Idle, ms(5));
    half.progress_at = ms(15);
    assert_eq!(end(&mut deadlines, &mut half, Standing::Idle), (ms(35), Cut::Frame));
    let mut closing = connection();
    closing.state = State::Lingering;
    deadlines.watch(ID, &mut closing, Standing::Idle, ms(0));
    assert_eq!(end(&mut deadlines, &mut closing, Standing::Idle), (ms(20), Cut::Close));
}

#[test]
fn whoever_waits_for_an_answer_is_not_idle() {
    let mut deadlines = Deadlines::new(limits());
    let mut waiting = connection();
    deadlines.watch(ID, &mut waiting, Standing::Idle, ms(0));
    let entry = deadlines.pop_due(ms(100)).unwrap();
    let verdict = deadlines.judge(entry, &mut waiting, (Standing::Busy, 0), ms(100));
    assert_eq!(verdict, Verdict::Keep);
    waiting.sent_at = ms(150);
    assert_eq!(end(&mut deadlines, &mut waiting, Standing::Idle), (ms(250), Cut::Idle));
}

#[test]
fn an_earlier_deadline_counts_and_the_later_entry_is_stale() {
    let mut deadlines = Deadlines::new(limits());
    let mut guest = connection();
    deadlines.watch(ID, &mut guest, Standing::Idle, ms(0));
    guest.partial.push(1);
    deadlines.watch(ID, &mut guest, Standing::Idle, ms(0));
    assert_eq!(end(&mut deadlines, &mut guest, Standing::Idle), (ms(20), Cut::Frame));
    let stale = deadlines.pop_due(ms(100)).unwrap();
    let verdict = deadlines.judge(stale, &mut guest, (Standing::Idle, 0), ms(100));
    assert_eq!(verdict, Verdict::Keep);
}

#[test]
fn a_slow_reader_goes_and_a_steady_one_stays() {
    let mut deadlines = Deadlines::new(limits());
    let mut reader = connection();
    reader.blocked = Some(Blocked { since: ms(0), sent_bytes: 0 });
    deadlines.watch(ID, &mut reader, Standing::Busy, ms(0));
    let entry = deadlines.pop_due(ms(50)).unwrap();
    let steady = (Standing::Busy, SLOW_BYTES_MIN);
    assert_eq!(deadlines.judge(entry, &mut reader, steady, ms(50)), Verdict::Keep);
    let entry = deadlines.pop_due(ms(100)).unwrap();
    let slow = (Standing::Busy, 2 * SLOW_BYTES_MIN - 1);
    let verdict = deadlines.judge(entry, &mut reader, slow, ms(100));
    assert_eq!(verdict, Verdict::Close(Cut::SlowReader));
}

#[test]
fn input_that_waits_for_the_service_is_no_silence() {
    let mut deadlines = Deadlines::new(limits());
    let mut new = connection();
    deadlines.watch(ID, &mut new, Standing::New, ms(0));
    new.queued = true;
    let entry = deadlines.pop_due(ms(10)).unwrap();
    let verdict = deadlines.judge(entry, &mut new, (Standing::New, 0), ms(10));
    assert_eq!((verdict, deadlines.next()), (Verdict::Keep, Some(ms(20))));
}

#[test]
fn many_deadlines_cost_few_wake_ups() {
    let mut deadlines = Deadlines::new(limits());
    let mut guests: Vec<_> = (0..1000).map(|_| connection()).collect();
    for (guest, slot) in guests.iter_mut().zip(0..) {
        let accepted = Nanos(u64::from(slot) * 200_000);
        (guest.opened_at, guest.progress_at) = (accepted, accepted);
        deadlines.watch(ConnId { slot, generation: 0 }, guest, Standing::New, accepted);
    }
    let (mut wake_ups, mut closed) = (0, 0);
    while let Some(now) = deadlines.wake_at() {
        wake_ups += 1;
        while let Some(entry) = deadlines.pop_due(now) {
            let late = now.since(entry.0);
            assert!(late < TICK_NANOS, "{late} ns late");
            let guest = &mut guests[entry.1.slot as usize];
            let verdict = deadlines.judge(entry, guest, (Standing::New, 0), now);
            assert_eq!(verdict, Verdict::Close(Cut::Hello));
            closed += 1;
        }
    }
    assert_eq!(closed, guests.len());
    assert!(wake_ups <= 5, "{wake_ups} for connections of 200 ms");
}
