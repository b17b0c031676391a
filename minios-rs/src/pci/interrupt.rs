//! A function's interrupts: its line, or messages.

#![forbid(unsafe_code)]

use super::{Command, Error, Function, capability};
use crate::abi::io::pciif::{
    MsixEntry, Op, XEN_PCI_OP_DISABLE_MSI, XEN_PCI_OP_DISABLE_MSIX, XEN_PCI_OP_ENABLE_MSI,
    XEN_PCI_OP_ENABLE_MSIX,
};
use crate::hardware::{Hardware, Pirq, Sharing};
use crate::xen::{BoundPort, Port};
use heapless::Vec;

/// Interrupts of one function's table, at most.
pub const VECTORS_MAX: usize = 8;

/// Physical interrupts are lines below this one, which ISA devices have for themselves.
const LEGACY_LINES: u32 = 16;

/// How a function's interrupt comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptKind {
    /// By a line of the bus.
    Line,
    /// By a message (MSI).
    Msi,
    /// By a message of a table (MSI-X).
    MsiX,
}

impl InterruptKind {
    /// As it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Line => "INTx",
            Self::Msi => "MSI",
            Self::MsiX => "MSI-X",
        }
    }
}

/// An interrupt that comes to a port of this domain.
pub struct Interrupt<X: Hardware> {
    xen: X,
    port: BoundPort<X>,
    pirq: Pirq,
    kind: InterruptKind,
}

impl<X: Hardware> Interrupt<X> {
    fn bind(xen: &X, pirq: Pirq, kind: InterruptKind, sharing: Sharing) -> Result<Self, Error> {
        let interrupt = Self {
            xen: xen.clone(),
            port: BoundPort::adopt(xen, xen.bind_interrupt(pirq, sharing)?),
            pirq,
            kind,
        };
        // One that came before, to somebody else, may never have been ended.
        interrupt.end();
        Ok(interrupt)
    }

    /// How it comes.
    pub fn kind(&self) -> InterruptKind {
        self.kind
    }

    /// Where it comes.
    pub fn port(&self) -> Port {
        self.port.number()
    }

    /// Whether it came since this was last asked.
    pub fn take(&self) -> bool {
        self.xen.take_interrupt(self.port.number())
    }

    /// Says that it was served: the next one may come. Until then none does.
    pub fn end(&self) {
        self.xen.end_interrupt(self.pirq);
    }
}

impl<X: Hardware> Function<X> {
    /// The interrupt of its line.
    ///
    /// # Errors
    /// [`Error::Missing`] if it has none.
    pub async fn line_interrupt(&self) -> Result<Interrupt<X>, Error> {
        let line = self.line().await?.ok_or(Error::Missing("interrupt line"))?;
        let pirq = Pirq(u32::from(line));
        self.command(Command::empty(), Command::NO_LINE).await?;
        let sharing = match pirq.0 < LEGACY_LINES {
            true => Sharing::Alone,
            false => Sharing::Shared,
        };
        Interrupt::bind(self.xen(), pirq, InterruptKind::Line, sharing)
    }

    /// One interrupt by message.
    ///
    /// # Errors
    /// [`Error::Missing`] if it cannot.
    pub async fn msi(&self) -> Result<Interrupt<X>, Error> {
        if self.capability(capability::MSI).await?.is_none() {
            return Err(Error::Missing("MSI"));
        }
        let op = Op {
            cmd: XEN_PCI_OP_ENABLE_MSI,
            ..Op::default()
        };
        let pirq = self.operate(op, &mut []).await?;
        let pirq = checked(pirq)?;
        Interrupt::bind(self.xen(), pirq, InterruptKind::Msi, Sharing::Alone)
    }

    /// The first `count` interrupts of its table. The function has to answer at its registers by then
    /// ([`Command::MEMORY`]).
    ///
    /// # Errors
    /// [`Error::Missing`] if its table is smaller, or it has none.
    pub async fn msix(&self, count: usize) -> Result<Vec<Interrupt<X>, VECTORS_MAX>, Error> {
        assert!((1..=VECTORS_MAX).contains(&count), "one, and not too many");
        let place = self.capability(capability::MSIX).await?;
        let offset = place.ok_or(Error::Missing("MSI-X"))?.offset;
        let size = usize::from(self.read16(u16::from(offset) + 2).await? & 0x7ff) + 1;
        if size < count {
            return Err(Error::Missing("MSI-X table large enough"));
        }
        let mut entries = [MsixEntry::default(); VECTORS_MAX];
        for (number, entry) in entries.iter_mut().enumerate() {
            entry.entry = number as u16;
        }
        let op = Op {
            cmd: XEN_PCI_OP_ENABLE_MSIX,
            value: count as u32,
            ..Op::default()
        };
        let entries = &mut entries[..count];
        let outcome = self.operate(op, entries).await?;
        if outcome != 0 {
            return Err(Error::Refused(outcome as i32));
        }
        let mut pirqs = Vec::<Pirq, VECTORS_MAX>::new();
        for (number, entry) in entries.iter().enumerate() {
            let pirq = checked(u32::from(entry.vector))?;
            if usize::from(entry.entry) != number || pirqs.contains(&pirq) {
                return Err(Error::Malformed("the PCI backend mixes interrupts up"));
            }
            let _ = pirqs.push(pirq);
        }
        let mut interrupts = Vec::new();
        for pirq in pirqs {
            let kind = InterruptKind::MsiX;
            let interrupt = Interrupt::bind(self.xen(), pirq, kind, Sharing::Alone)?;
            let _ = interrupts.push(interrupt);
        }
        Ok(interrupts)
    }

    /// The best interrupt it can have: a message of its table, a message, its line.
    ///
    /// # Errors
    /// [`Error`] of the last one tried.
    pub async fn interrupt(&self) -> Result<Interrupt<X>, Error> {
        if let Ok(mut interrupts) = self.msix(1).await
            && let Some(interrupt) = interrupts.pop()
        {
            return Ok(interrupt);
        }
        if let Ok(interrupt) = self.msi().await {
            return Ok(interrupt);
        }
        self.line_interrupt().await
    }

    /// Takes the function's interrupts away; drop the [`Interrupt`]s before.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn disable(&self, kind: InterruptKind) -> Result<(), Error> {
        let cmd = match kind {
            InterruptKind::Line => {
                return self.command(Command::NO_LINE, Command::empty()).await;
            }
            InterruptKind::Msi => XEN_PCI_OP_DISABLE_MSI,
            InterruptKind::MsiX => XEN_PCI_OP_DISABLE_MSIX,
        };
        let op = Op {
            cmd,
            ..Op::default()
        };
        self.operate(op, &mut []).await.map(drop)
    }
}

/// A physical interrupt as the backend names it; what it is, Xen knows.
fn checked(number: u32) -> Result<Pirq, Error> {
    match number {
        1..=0xffff => Ok(Pirq(number)),
        _ => Err(Error::Malformed("the PCI backend names no interrupt")),
    }
}
