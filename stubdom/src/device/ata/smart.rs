//! SMART: a disk that is well, and has nothing to tell. (7.48.)

use super::{Start, Task, error, put_checksum};

/// What the middle and high bytes of the address have to be; and are when all is well.
const KEY: u64 = 0xc2_4f00;

pub(super) fn start(enabled: &mut bool, task: &mut Task, answer: &mut [u8; 512]) -> Start {
    let operation = task.features & 0xff;
    if task.lba & 0xff_ff00 != KEY || !(*enabled || operation == 0xd8) {
        task.fail(error::ABRT);
        return Start::Done;
    }
    match operation {
        // Data, and the thresholds of its attributes: none of them.
        0xd0 | 0xd1 => {
            answer.fill(0);
            answer[0] = 1;
            if operation == 0xd0 {
                // No data was collected off-line, and nothing of the kind can be asked for.
                answer[370] = 1;
            }
            put_checksum(answer);
            return Start::Answer;
        }
        // Saving of attributes by itself, collecting them off-line: as good as done.
        0xd2 | 0xd4 | 0xdb => {}
        // Logs: their directory; errors and self-tests, of which there were none.
        0xd5 if task.count & 0xff == 1 && matches!(task.lba & 0xff, 0 | 1 | 6) => {
            answer.fill(0);
            answer[0] = 1;
            if task.lba & 0xff == 0 {
                answer[2] = 1;
                answer[12] = 1;
            } else {
                put_checksum(answer);
            }
            return Start::Answer;
        }
        0xd8 => *enabled = true,
        0xd9 => *enabled = false,
        // How it is: the key says well.
        0xda => {}
        _ => {
            task.fail(error::ABRT);
            return Start::Done;
        }
    }
    task.succeed();
    Start::Done
}
