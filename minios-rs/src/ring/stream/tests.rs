use super::*;
use crate::fake::{Page, World};
use crate::xen::{DomId, Xen};
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const LAYOUT: Layout = Layout {
    buffer: 64,
    size: 32,
    cons: 0,
    prod: 4,
};

fn page() -> Page {
    World::new().domain(DomId(1)).allocate_page().unwrap()
}

#[test]
fn bytes_come_out_as_they_went_in_and_no_more_than_fit() {
    let page = page();
    let (mut writer, mut reader) = (Writer::new(LAYOUT), Reader::new(LAYOUT));
    assert_eq!(writer.write(&page, &[7; 40]), Ok(32));
    assert_eq!(writer.write(&page, &[8]), Ok(0));
    assert_eq!(
        (writer.unread(&page), reader.waiting(&page)),
        (Ok(32), Ok(32))
    );
    let mut bytes = [0; 20];
    assert_eq!(reader.read(&page, &mut bytes), Ok(20));
    assert_eq!(writer.write(&page, b"over the end of the ring"), Ok(20));
    let mut bytes = [0; 64];
    assert_eq!(reader.read(&page, &mut bytes), Ok(32));
    assert_eq!(&bytes[..12], &[7; 12]);
    assert_eq!(&bytes[12..32], b"over the end of the ");
    assert_eq!(reader.read(&page, &mut bytes), Ok(0));
}

#[test]
fn an_index_beyond_the_ring_is_refused_and_discarding_starts_again() {
    let page = page();
    let (mut writer, mut reader) = (Writer::new(LAYOUT), Reader::new(LAYOUT));
    page.word(LAYOUT.prod).store(33, Ordering::Relaxed);
    assert_eq!(reader.waiting(&page), Err(Corrupt));
    assert_eq!(reader.read(&page, &mut [0; 8]), Err(Corrupt));
    reader.discard(&page);
    assert_eq!(reader.read(&page, &mut [0; 8]), Ok(0));
    page.word(LAYOUT.cons).store(1, Ordering::Relaxed);
    assert_eq!(writer.write(&page, b"x"), Err(Corrupt));
    writer.rewind(&page);
    assert_eq!(writer.write(&page, b"x"), Ok(1));
}

proptest! {
    #[test]
    fn it_is_a_queue_across_every_wrap(
        start: u32,
        steps in prop::collection::vec((0..48_usize, 0..48_usize), 1..60),
    ) {
        let page = page();
        for index in [LAYOUT.cons, LAYOUT.prod] {
            page.word(index).store(start, Ordering::Relaxed);
        }
        let mut writer = Writer { layout: LAYOUT, prod: start };
        let mut reader = Reader { layout: LAYOUT, cons: start };
        let mut queue = VecDeque::new();
        let mut next = 0_u8;
        for (put, take) in steps {
            let bytes: Vec<u8> = (0..put).map(|_| { next = next.wrapping_add(1); next }).collect();
            let written = writer.write(&page, &bytes).unwrap();
            prop_assert_eq!(written, put.min(32 - queue.len()));
            queue.extend(&bytes[..written]);
            let mut read = vec![0; take];
            let count = reader.read(&page, &mut read).unwrap();
            prop_assert_eq!(count, take.min(queue.len()));
            let expected: Vec<u8> = queue.drain(..count).collect();
            prop_assert_eq!(&read[..count], &expected[..]);
        }
    }

    #[test]
    fn any_indices_give_an_error_or_bounded_work(words: [u32; 2], length in 0..64_usize) {
        let page = page();
        let (mut writer, mut reader) = (Writer::new(LAYOUT), Reader::new(LAYOUT));
        page.word(LAYOUT.cons).store(words[0], Ordering::Relaxed);
        page.word(LAYOUT.prod).store(words[1], Ordering::Relaxed);
        let mut bytes = vec![0; length];
        prop_assert!(reader.read(&page, &mut bytes).unwrap_or(0) <= length.min(32));
        prop_assert!(writer.write(&page, &bytes).unwrap_or(0) <= length.min(32));
        for at in [8, 60, 96, 4092] {
            prop_assert_eq!(page.word(at).load(Ordering::Relaxed), 0, "outside the ring");
        }
    }
}
