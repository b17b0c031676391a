//! A serial port: National Semiconductor PC16550D.
//!
//! There is no line and no baud rate: a byte that is written is sent at once, as long as whoever takes
//! the output ([`Uart::take_output`]) leaves room, and the transmitter says that it is busy otherwise.

use crate::bus::Width;
use heapless::Deque;
use serde::{Deserialize, Serialize};

/// Bytes of each FIFO.
pub const FIFO: usize = 16;
/// Bytes that were sent and not yet taken.
const OUTPUT: usize = 256;

const DATA: usize = 0;
const INTERRUPT_ENABLE: usize = 1;
const INTERRUPT_IDENT_FIFO_CONTROL: usize = 2;
const LINE_CONTROL: usize = 3;
const MODEM_CONTROL: usize = 4;
const LINE_STATUS: usize = 5;
const MODEM_STATUS: usize = 6;
const SCRATCH: usize = 7;

const IER_RECEIVED: u8 = 1 << 0;
const IER_TRANSMITTER: u8 = 1 << 1;
const IER_LINE_STATUS: u8 = 1 << 2;
const IER_MODEM_STATUS: u8 = 1 << 3;
const IER_WRITABLE: u8 = 0x0f;

const IIR_NONE: u8 = 0x01;
const IIR_MODEM_STATUS: u8 = 0x00;
const IIR_TRANSMITTER: u8 = 0x02;
const IIR_RECEIVED: u8 = 0x04;
const IIR_LINE_STATUS: u8 = 0x06;
const IIR_TIMEOUT: u8 = 0x0c;
const IIR_FIFOS: u8 = 0xc0;

const FCR_ENABLE: u8 = 1 << 0;
const FCR_CLEAR_RECEIVED: u8 = 1 << 1;
const FCR_TRIGGER_SHIFT: u8 = 6;

const LCR_DIVISOR_ACCESS: u8 = 1 << 7;

const MCR_DTR: u8 = 1 << 0;
const MCR_RTS: u8 = 1 << 1;
const MCR_OUT1: u8 = 1 << 2;
const MCR_OUT2: u8 = 1 << 3;
const MCR_LOOP: u8 = 1 << 4;
const MCR_WRITABLE: u8 = 0x1f;

const LSR_DATA_READY: u8 = 1 << 0;
const LSR_OVERRUN: u8 = 1 << 1;
const LSR_THR_EMPTY: u8 = 1 << 5;
const LSR_TRANSMITTER_EMPTY: u8 = 1 << 6;

const MSR_CTS: u8 = 1 << 4;
const MSR_DSR: u8 = 1 << 5;
const MSR_RING: u8 = 1 << 6;
const MSR_CARRIER: u8 = 1 << 7;
/// Trailing edge of the ring indicator.
const MSR_RING_ENDED: u8 = 1 << 2;
/// What a null modem with somebody at its other end shows.
const CONNECTED: u8 = MSR_CTS | MSR_DSR | MSR_CARRIER;

/// A serial port.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Uart {
    divisor: u16,
    interrupt_enable: u8,
    /// What was last written to FCR, while its first bit is set; 0 without FIFOs.
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    has_overrun: bool,
    /// The transmitter's interrupt was neither read in IIR nor answered with a byte.
    transmitter_pending: bool,
    modem_delta: u8,
    received: Deque<u8, FIFO>,
    output: Deque<u8, OUTPUT>,
}

impl Uart {
    /// A port as it is after a reset.
    pub fn new() -> Self {
        Self {
            divisor: 12,
            ..Self::default()
        }
    }

    /// Reads registers, of which there are eight.
    pub fn read(&mut self, offset: usize, width: Width) -> u32 {
        width.gather(|at| self.read_register(offset.wrapping_add(at)))
    }

    /// Writes registers.
    pub fn write(&mut self, offset: usize, width: Width, value: u32) {
        width.scatter(value, |at, byte| {
            self.write_register(offset.wrapping_add(at), byte);
        });
    }

    /// The level of its interrupt line. On a PC it goes through a gate that OUT2 opens.
    pub fn irq(&self) -> bool {
        self.interrupt() != IIR_NONE && self.modem_control & (MCR_OUT2 | MCR_LOOP) == MCR_OUT2
    }

    /// Bytes from the other end: says how many it took, and takes the others when the guest has read
    /// some.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        if self.modem_control & MCR_LOOP != 0 {
            return 0;
        }
        let room = self.capacity().saturating_sub(self.received.len());
        let mut taken = 0;
        for &byte in bytes.iter().take(room) {
            if self.received.push_back(byte).is_ok() {
                taken += 1;
            }
        }
        taken
    }

    /// What the guest sent: moves it into `to` and says how many bytes those are.
    pub fn take_output(&mut self, to: &mut [u8]) -> usize {
        let was_ready = self.is_ready();
        let mut taken = 0;
        for place in to {
            let Some(byte) = self.output.pop_front() else {
                break;
            };
            *place = byte;
            taken += 1;
        }
        if !was_ready && self.is_ready() {
            self.transmitter_pending = true;
        }
        taken
    }

    fn has_fifos(&self) -> bool {
        self.fifo_control & FCR_ENABLE != 0
    }

    fn capacity(&self) -> usize {
        if self.has_fifos() { FIFO } else { 1 }
    }

    /// Whether a driver that was told so can write a whole FIFO and lose nothing.
    fn is_ready(&self) -> bool {
        self.output.len() + FIFO <= OUTPUT
    }

    fn trigger(&self) -> usize {
        match (self.has_fifos(), self.fifo_control >> FCR_TRIGGER_SHIFT) {
            (false, _) | (_, 0) => 1,
            (_, 1) => 4,
            (_, 2) => 8,
            _ => 14,
        }
    }

    /// What IIR says is the most urgent, without the bits of the FIFOs.
    fn interrupt(&self) -> u8 {
        let enabled = |bit| self.interrupt_enable & bit != 0;
        if enabled(IER_LINE_STATUS) && self.has_overrun {
            IIR_LINE_STATUS
        } else if enabled(IER_RECEIVED) && self.received.len() >= self.trigger() {
            IIR_RECEIVED
        } else if enabled(IER_RECEIVED) && !self.received.is_empty() {
            // Below the trigger level, and without a clock nothing further is waited for.
            IIR_TIMEOUT
        } else if enabled(IER_TRANSMITTER) && self.transmitter_pending {
            IIR_TRANSMITTER
        } else if enabled(IER_MODEM_STATUS) && self.modem_delta != 0 {
            IIR_MODEM_STATUS
        } else {
            IIR_NONE
        }
    }

    fn line_status(&self) -> u8 {
        let mut status = 0;
        if !self.received.is_empty() {
            status |= LSR_DATA_READY;
        }
        if self.has_overrun {
            status |= LSR_OVERRUN;
        }
        if self.is_ready() {
            status |= LSR_THR_EMPTY;
        }
        if self.output.is_empty() {
            status |= LSR_TRANSMITTER_EMPTY;
        }
        status
    }

    /// The upper half of MSR, which in loopback are the bits of MCR.
    fn modem_lines(&self) -> u8 {
        if self.modem_control & MCR_LOOP == 0 {
            return CONNECTED;
        }
        [
            (MCR_RTS, MSR_CTS),
            (MCR_DTR, MSR_DSR),
            (MCR_OUT1, MSR_RING),
            (MCR_OUT2, MSR_CARRIER),
        ]
        .into_iter()
        .filter(|(control, _)| self.modem_control & control != 0)
        .fold(0, |lines, (_, line)| lines | line)
    }

    fn read_register(&mut self, register: usize) -> u8 {
        let divisor = self.line_control & LCR_DIVISOR_ACCESS != 0;
        match register {
            DATA if divisor => self.divisor.to_le_bytes()[0],
            INTERRUPT_ENABLE if divisor => self.divisor.to_le_bytes()[1],
            DATA => self.received.pop_front().unwrap_or(0),
            INTERRUPT_ENABLE => self.interrupt_enable,
            INTERRUPT_IDENT_FIFO_CONTROL => {
                let interrupt = self.interrupt();
                if interrupt == IIR_TRANSMITTER {
                    self.transmitter_pending = false;
                }
                interrupt | if self.has_fifos() { IIR_FIFOS } else { 0 }
            }
            LINE_CONTROL => self.line_control,
            MODEM_CONTROL => self.modem_control,
            LINE_STATUS => {
                let status = self.line_status();
                self.has_overrun = false;
                status
            }
            MODEM_STATUS => {
                let status = self.modem_lines() | self.modem_delta;
                self.modem_delta = 0;
                status
            }
            SCRATCH => self.scratch,
            _ => 0xff,
        }
    }

    fn write_register(&mut self, register: usize, byte: u8) {
        let divisor = self.line_control & LCR_DIVISOR_ACCESS != 0;
        match register {
            DATA if divisor => self.divisor = self.divisor & 0xff00 | u16::from(byte),
            INTERRUPT_ENABLE if divisor => {
                self.divisor = self.divisor & 0x00ff | u16::from(byte) << 8;
            }
            DATA => self.transmit(byte),
            INTERRUPT_ENABLE => {
                let risen = byte & !self.interrupt_enable;
                self.interrupt_enable = byte & IER_WRITABLE;
                // Enabled while there is room: says so, even if that was known.
                if risen & IER_TRANSMITTER != 0 && self.is_ready() {
                    self.transmitter_pending = true;
                }
            }
            INTERRUPT_IDENT_FIFO_CONTROL => self.write_fifo_control(byte),
            LINE_CONTROL => self.line_control = byte,
            MODEM_CONTROL => self.write_modem_control(byte),
            SCRATCH => self.scratch = byte,
            _ => {}
        }
    }

    fn transmit(&mut self, byte: u8) {
        self.transmitter_pending = false;
        if self.modem_control & MCR_LOOP != 0 {
            if self.received.len() < self.capacity() {
                // There is room: it was just asked for.
                let _ = self.received.push_back(byte);
            } else {
                self.has_overrun = true;
            }
        } else {
            // A guest that writes although the transmitter said that it is busy loses the byte.
            let _ = self.output.push_back(byte);
        }
        self.transmitter_pending = self.is_ready();
    }

    fn write_fifo_control(&mut self, byte: u8) {
        if (byte ^ self.fifo_control) & FCR_ENABLE != 0
            || byte & (FCR_ENABLE | FCR_CLEAR_RECEIVED) == FCR_ENABLE | FCR_CLEAR_RECEIVED
        {
            self.received.clear();
            self.has_overrun = false;
        }
        // What was sent is on its way: there is no FIFO of the transmitter's to clear.
        self.fifo_control = if byte & FCR_ENABLE != 0 { byte } else { 0 };
    }

    fn write_modem_control(&mut self, byte: u8) {
        let before = self.modem_lines();
        self.modem_control = byte & MCR_WRITABLE;
        let after = self.modem_lines();
        let changed = before ^ after;
        self.modem_delta |= (changed & CONNECTED) >> 4;
        if before & !after & MSR_RING != 0 {
            self.modem_delta |= MSR_RING_ENDED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const IER: usize = INTERRUPT_ENABLE;
    const IIR: usize = INTERRUPT_IDENT_FIFO_CONTROL;
    const FCR: usize = INTERRUPT_IDENT_FIFO_CONTROL;
    const LCR: usize = LINE_CONTROL;
    const MCR: usize = MODEM_CONTROL;
    const LSR: usize = LINE_STATUS;
    const MSR: usize = MODEM_STATUS;

    fn read(uart: &mut Uart, register: usize) -> u32 {
        uart.read(register, Width::Byte)
    }

    fn write(uart: &mut Uart, register: usize, value: u32) {
        uart.write(register, Width::Byte, value);
    }

    fn output(uart: &mut Uart) -> Vec<u8> {
        let mut bytes = [0; 300];
        let length = uart.take_output(&mut bytes);
        bytes[..length].to_vec()
    }

    /// As Linux sets it up: FIFOs with trigger level 8, OUT2, receiver and line status.
    fn open() -> Uart {
        let mut uart = Uart::new();
        write(&mut uart, FCR, 0x81);
        write(&mut uart, MCR, 0x0b);
        write(&mut uart, IER, 0x05);
        uart
    }

    #[test]
    fn a_driver_finds_a_16550a() {
        let mut uart = Uart::new();
        assert_eq!(read(&mut uart, LSR), 0x60);
        assert_eq!(read(&mut uart, MSR), 0xb0);
        assert_eq!(read(&mut uart, IIR), 0x01);
        write(&mut uart, IER, 0xff);
        assert_eq!(read(&mut uart, IER), 0x0f);
        write(&mut uart, SCRATCH, 0xa5);
        assert_eq!(read(&mut uart, SCRATCH), 0xa5);
        write(&mut uart, IER, 0);
        write(&mut uart, FCR, 0x01);
        assert_eq!(read(&mut uart, IIR), 0xc1);
        write(&mut uart, FCR, 0xc0);
        assert_eq!(
            read(&mut uart, IIR),
            0x01,
            "without its first bit, FCR is 0"
        );
    }

    #[test]
    fn the_divisor_is_behind_its_access_bit() {
        let mut uart = Uart::new();
        write(&mut uart, LCR, 0x83);
        uart.write(DATA, Width::Word, 0x0180);
        assert_eq!(uart.read(DATA, Width::Word), 0x0180);
        write(&mut uart, LCR, 0x03);
        assert_eq!(read(&mut uart, LCR), 0x03);
        assert_eq!(read(&mut uart, IER), 0);
        assert_eq!(output(&mut uart), [0_u8; 0]);
    }

    #[test]
    fn what_is_written_comes_out_and_the_transmitter_tells_when_there_is_room() {
        let mut uart = open();
        write(&mut uart, IER, 0x02);
        assert!(uart.irq());
        assert_eq!(read(&mut uart, IIR), 0xc2);
        assert!(!uart.irq(), "reading it has answered it");
        for byte in b"xen" {
            write(&mut uart, DATA, u32::from(*byte));
        }
        assert!(uart.irq());
        assert_eq!(read(&mut uart, LSR), 0x20, "not yet all of it");
        assert_eq!(output(&mut uart), b"xen");
        assert_eq!(read(&mut uart, LSR), 0x60);
    }

    #[test]
    fn output_that_nobody_takes_is_bounded_and_holds_the_driver_up() {
        let mut uart = open();
        write(&mut uart, IER, 0x02);
        let mut sent = 0;
        while read(&mut uart, LSR) & 0x20 != 0 {
            for _ in 0..FIFO {
                write(&mut uart, DATA, sent & 0xff);
                sent += 1;
            }
        }
        assert_eq!(sent as usize, OUTPUT);
        read(&mut uart, IIR);
        assert!(!uart.irq());
        write(&mut uart, DATA, 0);
        assert!(!uart.irq());
        assert_eq!(uart.take_output(&mut [0; FIFO - 1]), FIFO - 1);
        assert!(!uart.irq());
        assert_eq!(uart.take_output(&mut [0; 1]), 1);
        assert!(uart.irq(), "room for a FIFO again");
        assert_eq!(output(&mut uart).len(), OUTPUT - FIFO);
    }

    #[test]
    fn received_bytes_interrupt_at_the_trigger_level_and_below_it_by_time_out() {
        let mut uart = open();
        assert_eq!(uart.receive(b"12345678"), 8);
        assert!(uart.irq());
        assert_eq!(read(&mut uart, IIR), 0xc4);
        assert_eq!(read(&mut uart, DATA), u32::from(b'1'));
        assert_eq!(read(&mut uart, IIR), 0xcc);
        for byte in b"2345678" {
            assert_eq!(read(&mut uart, LSR) & 1, 1);
            assert_eq!(read(&mut uart, DATA), u32::from(*byte));
        }
        assert_eq!(read(&mut uart, LSR) & 1, 0);
        assert!(!uart.irq());
        assert_eq!(read(&mut uart, DATA), 0);
    }

    #[test]
    fn input_waits_until_there_is_room() {
        let mut uart = open();
        assert_eq!(uart.receive(&[7; 20]), 16);
        assert_eq!(uart.receive(&[7; 20]), 0);
        read(&mut uart, DATA);
        assert_eq!(uart.receive(&[7; 20]), 1);
        write(&mut uart, FCR, 0x83);
        assert_eq!(read(&mut uart, LSR) & 1, 0, "cleared");
        write(&mut uart, FCR, 0);
        assert_eq!(uart.receive(&[7; 20]), 1, "without FIFOs");
        assert_eq!(read(&mut uart, IIR), 0x04);
    }

    #[test]
    fn what_was_received_is_cleared_when_it_is_asked_for_or_the_fifos_come_and_go() {
        for (fifo_control, is_cleared) in [
            (0x81, false),
            (0x41, false),
            (0x05, false),
            (0x83, true),
            (0x03, true),
            (0x00, true),
            // Without its first bit, the others mean nothing; but the FIFOs are gone.
            (0x02, true),
        ] {
            let mut uart = open();
            uart.receive(b"xy");
            write(&mut uart, FCR, fifo_control);
            let has_data = read(&mut uart, LSR) & 1 != 0;
            assert_eq!(has_data, !is_cleared, "{fifo_control:#x}");
        }
        // Where there are none, a byte that waits is not for those bits to clear.
        for fifo_control in [0x00, 0x02, 0xc2] {
            let mut uart = Uart::new();
            uart.receive(b"x");
            write(&mut uart, FCR, fifo_control);
            assert_eq!(read(&mut uart, LSR) & 1, 1, "{fifo_control:#x}");
        }
    }

    #[test]
    fn the_modem_control_register_has_five_bits() {
        let mut uart = Uart::new();
        write(&mut uart, MCR, 0xff);
        assert_eq!(read(&mut uart, MCR), 0x1f);
        write(&mut uart, MCR, 0x03);
        assert_eq!(read(&mut uart, MCR), 0x03);
    }

    #[test]
    fn loopback_returns_data_and_modem_lines() {
        let mut uart = open();
        write(&mut uart, MCR, 0x1f);
        assert_eq!(
            read(&mut uart, MSR),
            0xf0,
            "RI came, and only its end tells"
        );
        write(&mut uart, MCR, 0x10);
        assert_eq!(read(&mut uart, MSR), 0x0f);
        assert_eq!(read(&mut uart, MSR), 0x00);
        write(&mut uart, MCR, 0x1a);
        assert_eq!(read(&mut uart, MSR), 0x99);
        write(&mut uart, DATA, 0x42);
        assert_eq!(uart.receive(b"x"), 0);
        assert!(!uart.irq(), "OUT2's pin does not follow its bit");
        assert_eq!(read(&mut uart, DATA), 0x42);
        assert_eq!(output(&mut uart), [0_u8; 0]);
        for byte in 0..17 {
            write(&mut uart, DATA, byte);
        }
        assert_eq!(read(&mut uart, IIR), 0xc6);
        assert_eq!(read(&mut uart, LSR), 0x63, "overrun");
        assert_eq!(read(&mut uart, LSR), 0x61);
    }

    #[test]
    fn a_change_of_modem_lines_interrupts() {
        let mut uart = open();
        write(&mut uart, IER, 0x08);
        write(&mut uart, MCR, 0x10);
        write(&mut uart, MCR, 0x08);
        assert!(uart.irq());
        assert_eq!(read(&mut uart, IIR), 0xc0);
        read(&mut uart, MSR);
        assert!(!uart.irq());
    }

    #[test]
    fn the_line_needs_out2() {
        let mut uart = open();
        write(&mut uart, MCR, 0x03);
        uart.receive(b"x");
        assert!(!uart.irq());
        write(&mut uart, MCR, 0x0b);
        assert!(uart.irq());
    }

    proptest! {
        #[test]
        fn whatever_a_guest_does_it_stays_within_its_buffers(
            steps in proptest::collection::vec((any::<bool>(), 0..12_usize, 0..3_usize, any::<u32>()), 0..400)
        ) {
            let mut uart = Uart::new();
            for (is_write, register, width, value) in steps {
                let width = Width::ALL[width];
                if is_write {
                    uart.write(register, width, value);
                } else {
                    prop_assert!(uart.read(register, width) <= width.ones());
                }
                if value.is_multiple_of(7) {
                    uart.receive(&value.to_le_bytes());
                }
                prop_assert_eq!(uart.interrupt_enable & 0xf0, 0);
            }
            prop_assert!(output(&mut uart).len() <= OUTPUT);
        }
    }
}
