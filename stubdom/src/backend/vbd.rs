//! A vbd of this domain's, as the disk behind a drive.

use super::disk::{Buffer, Completion, Disk, Info, Submission};
use crate::disk::{Operation, Reason};
use minios_rs::block;
use minios_rs::xen::Xen;

impl<X: Xen> Buffer for block::Buffer<X> {
    fn read(&self, offset: usize, into: &mut [u8]) {
        block::Buffer::read(self, offset, into);
    }

    fn write(&mut self, offset: usize, from: &[u8]) {
        block::Buffer::write(self, offset, from);
    }
}

impl<X: Xen> Disk for block::Front<X> {
    type Buffer = block::Buffer<X>;

    fn info(&self) -> Option<Info> {
        let info = block::Front::info(self)?;
        Some(Info {
            sectors: info.sectors,
            sector_size: info.sector_size,
            read_only: info.read_only,
            flush: info.flush,
            discard: info.discard.is_some(),
            // It cuts them itself.
            request_max: u32::MAX,
        })
    }

    fn buffer(&mut self, bytes: usize) -> Option<Self::Buffer> {
        block::Front::buffer(self, bytes)
    }

    fn submit(
        &mut self,
        submission: Submission<Self::Buffer>,
    ) -> Result<(), Submission<Self::Buffer>> {
        let Submission {
            operation,
            sector,
            sectors,
            buffer,
            tag,
        } = submission;
        let asked = match operation {
            Operation::Read => block::Operation::Read,
            Operation::Write => block::Operation::Write,
            Operation::Flush => block::Operation::Flush,
            Operation::Discard => block::Operation::Discard {
                sectors: sectors.into(),
            },
        };
        let submitted = block::Front::submit(self, asked, sector, buffer, tag);
        submitted.map_err(|(block::Full, buffer)| Submission {
            operation,
            sector,
            sectors,
            buffer,
            tag,
        })
    }

    fn poll(&mut self) -> Option<Completion<Self::Buffer>> {
        let done = block::Front::poll(self)?;
        let result = done.result.map_err(|failure| match failure {
            block::Failure::ReadOnly => Reason::ReadOnly,
            block::Failure::OutOfRange => Reason::Range,
            block::Failure::Gone => Reason::Gone,
            block::Failure::Io
            | block::Failure::Unsupported
            | block::Failure::Invalid
            | block::Failure::NoMemory => Reason::Medium,
        });
        Some(Completion {
            tag: done.tag,
            result,
            buffer: done.buffer,
        })
    }

    fn notify(&mut self) {
        block::Front::notify(self);
    }
}
