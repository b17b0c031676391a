//! A card of the model e1000 that is told of memory of others: a ring of descriptors at a machine address that is not
//! this domain's. The IOMMU keeps it from there.

use core::sync::atomic::Ordering;
use core::time::Duration;
use minios_rs::hardware::{Hardware, Registers};
use minios_rs::pci::{Bus, Command, Error, Function};
use minios_rs::task::Executor;
use minios_rs::xen::{PAGE_SIZE, SharedPage, Xen};
use minios_rs::{Domain, Pv};

/// Somebody's at any rate, and never ours: 16 MiB from the beginning, where dom0 or Xen is.
pub(crate) const ELSEWHERE: u64 = 0x100_0000;

/// What is used of the registers, which are these many bytes.
const REGISTERS: usize = 0x2_0000;
const CTRL: usize = 0x0000;
const TCTL: usize = 0x0400;
const RING: usize = 0x3800;
const LENGTH: usize = RING + 0x08;
const HEAD: usize = RING + 0x10;
const TAIL: usize = RING + 0x18;
/// Frames that were sent; reading clears it.
const SENT: usize = 0x4080;

const RESET: u32 = 1 << 26;
const SET_LINK_UP: u32 = 1 << 6;
/// On, and short frames are filled up.
const TRANSMIT: u32 = 1 << 1 | 1 << 3;
/// The whole of a frame, with its CRC.
const FRAME: u32 = 1 << 24 | 1 << 25;
const FRAME_BYTES: u32 = 60;

/// How long the card may take.
const TIME: Duration = Duration::from_millis(200);

/// Runs until the domain is destroyed.
pub(crate) fn run(domain: Domain) -> ! {
    let (xen, store, executor) = (domain.xen, domain.store.clone(), domain.executor.clone());
    let bus = alloc::rc::Rc::new(core::cell::RefCell::new(None::<Bus<Pv>>));
    let pumped = bus.clone();
    let tried = async move {
        let tried = async {
            let (connected, link) = Bus::connect(&xen, &store, &executor, 0).await?;
            *bus.borrow_mut() = Some(connected.clone());
            let address = link.functions().await?;
            let address = *address.first().expect("it is given a card");
            try_both(&xen, &connected.function(address), &executor).await
        };
        match tried.await {
            Ok(true) => log::info!("Test result: SUCCESS"),
            Ok(false) => log::error!("Test result: FAILURE"),
            Err(error) => log::error!("Test result: ERROR: {error}"),
        }
    };
    domain.executor.spawn(tried).expect("the first task fits");
    domain.run(|_| {
        if let Some(bus) = &*pumped.borrow() {
            bus.pump();
        }
        None
    })
}

/// A frame from a ring of our own, so that it is known what it looks like when one is sent; then a ring elsewhere.
async fn try_both(xen: &Pv, function: &Function<Pv>, executor: &Executor) -> Result<bool, Error> {
    function.command(Command::MEMORY, Command::MASTER).await?;
    let card = function.map(0, REGISTERS, REGISTERS).await?;
    card.write32(CTRL, RESET);
    executor.sleep(TIME).await;
    card.write32(CTRL, SET_LINK_UP);
    function.command(Command::MASTER, Command::empty()).await?;
    let ring = xen.allocate_page().expect("there is memory");
    let frame = xen.allocate_page().expect("there is memory");
    ring.zero(0, PAGE_SIZE);
    frame.zero(0, PAGE_SIZE);
    let address = xen.machine_address(&frame);
    let words = [address as u32, (address >> 32) as u32, FRAME_BYTES | FRAME];
    for (at, word) in words.into_iter().enumerate() {
        ring.word(4 * at).store(word, Ordering::Release);
    }
    let own = sent_from(&card, executor, xen.machine_address(&ring)).await;
    let elsewhere = sent_from(&card, executor, ELSEWHERE).await;
    card.write32(TCTL, 0);
    function.command(Command::empty(), Command::MASTER).await?;
    log::info!("frames sent: {own} from a ring of our own, {elsewhere} from {ELSEWHERE:#x}");
    Ok(own == 1 && elsewhere == 0)
}

/// How many frames the card sends of a ring there, of which it is shown one.
async fn sent_from(card: &<Pv as Hardware>::Registers, executor: &Executor, address: u64) -> u32 {
    card.write32(TCTL, 0);
    card.write32(RING, address as u32);
    card.write32(RING + 4, (address >> 32) as u32);
    card.write32(LENGTH, PAGE_SIZE as u32);
    card.write32(HEAD, 0);
    card.write32(TAIL, 0);
    card.read32(SENT);
    card.write32(TCTL, TRANSMIT);
    card.write32(TAIL, 1);
    executor.sleep(TIME).await;
    card.read32(SENT)
}
