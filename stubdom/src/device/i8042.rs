//! The keyboard controller (Intel 8042), with a keyboard and with a second port that has no mouse.
//!
//! Nobody presses a key: what the keyboard sends are its answers to commands.

use super::Action;
use crate::bus::Width;
use crate::state;
use heapless::Deque;
use serde::{Deserialize, Serialize};

/// Bytes that the keyboard has yet to say.
const KEYBOARD_QUEUE: usize = 16;

const STATUS_OUTPUT_FULL: u8 = 1 << 0;
const STATUS_SYSTEM: u8 = 1 << 2;
/// The last write was a command.
const STATUS_COMMAND: u8 = 1 << 3;
const STATUS_UNLOCKED: u8 = 1 << 4;
const STATUS_OUTPUT_AUX: u8 = 1 << 5;

const CONFIG_KEYBOARD_IRQ: u8 = 1 << 0;
const CONFIG_AUX_IRQ: u8 = 1 << 1;
const CONFIG_SYSTEM: u8 = 1 << 2;
const CONFIG_KEYBOARD_OFF: u8 = 1 << 4;
const CONFIG_AUX_OFF: u8 = 1 << 5;
const CONFIG_TRANSLATE: u8 = 1 << 6;

/// Lines of the output port: the processor's reset (low: reset) and address line 20.
const OUTPUT_NO_RESET: u8 = 1 << 0;
const OUTPUT_ADDRESS_20: u8 = 1 << 1;

const ACKNOWLEDGED: u8 = 0xfa;
const AGAIN: u8 = 0xfe;
const SELF_TEST_PASSED: u8 = 0xaa;

/// Whose byte is in the output buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Source {
    /// The keyboard, or the controller in its place: line 1.
    Keyboard,
    /// The second port: line 12.
    Aux,
}

/// What the next byte at the data port belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Parameter {
    /// To nothing: it is for the keyboard.
    None,
    /// To be kept in the controller's memory.
    Memory(u8),
    /// To be driven on the output port.
    OutputPort,
    /// To come back as if the keyboard had sent it.
    FromKeyboard,
    /// To come back as if a mouse had sent it.
    FromAux,
    /// For the mouse that is not there.
    ToAux,
}

/// What the next byte to the keyboard belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum KeyboardParameter {
    /// It is a command.
    None,
    /// A setting that nobody sees: lights, repetition.
    Ignored,
    /// A scan code set, or 0 to ask for it.
    ScanCodeSet,
}

/// The controller and its keyboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct I8042 {
    #[serde(with = "state::bytes")]
    memory: [u8; 32],
    output_port: u8,
    output: Option<(u8, Source)>,
    /// What is left in the output buffer when it was read.
    last: u8,
    was_command: bool,
    parameter: Parameter,
    /// The controller's own answer, which goes before the keyboard's.
    answer: Option<(u8, Source)>,
    keyboard: Deque<u8, KEYBOARD_QUEUE>,
    keyboard_parameter: KeyboardParameter,
    keyboard_last: u8,
    scan_code_set: u8,
    action: Option<Action>,
}

impl Default for I8042 {
    fn default() -> Self {
        Self::new()
    }
}

impl I8042 {
    /// The controller as firmware finds it.
    pub fn new() -> Self {
        let mut memory = [0; 32];
        memory[0] = CONFIG_KEYBOARD_IRQ | CONFIG_SYSTEM | CONFIG_TRANSLATE;
        Self {
            memory,
            output_port: OUTPUT_NO_RESET | OUTPUT_ADDRESS_20,
            output: None,
            last: 0,
            was_command: false,
            parameter: Parameter::None,
            answer: None,
            keyboard: Deque::new(),
            keyboard_parameter: KeyboardParameter::None,
            keyboard_last: 0,
            scan_code_set: 2,
            action: None,
        }
    }

    /// Reads the data port, 0x60.
    pub fn read_data(&mut self, width: Width) -> u32 {
        width.gather(|at| {
            if at > 0 {
                return 0xff;
            }
            if let Some((byte, _)) = self.output.take() {
                self.last = byte;
            }
            self.last
        })
    }

    /// Reads the status port, 0x64.
    pub fn read_status(&self, width: Width) -> u32 {
        width.gather(|at| {
            if at > 0 {
                return 0xff;
            }
            let mut status = STATUS_UNLOCKED;
            if self.config() & CONFIG_SYSTEM != 0 {
                status |= STATUS_SYSTEM;
            }
            if self.was_command {
                status |= STATUS_COMMAND;
            }
            match self.output {
                None => {}
                Some((_, Source::Keyboard)) => status |= STATUS_OUTPUT_FULL,
                Some((_, Source::Aux)) => status |= STATUS_OUTPUT_FULL | STATUS_OUTPUT_AUX,
            }
            status
        })
    }

    /// Writes the data port, 0x60.
    pub fn write_data(&mut self, value: u32) {
        let byte = value.to_le_bytes()[0];
        self.was_command = false;
        match core::mem::replace(&mut self.parameter, Parameter::None) {
            Parameter::None => self.command_keyboard(byte),
            Parameter::Memory(at) => self.memory[usize::from(at & 0x1f)] = byte,
            Parameter::OutputPort => self.write_output_port(byte),
            Parameter::FromKeyboard => self.answer = Some((byte, Source::Keyboard)),
            Parameter::FromAux => self.answer = Some((byte, Source::Aux)),
            // What a controller says whose port nobody answers at.
            Parameter::ToAux => self.answer = Some((AGAIN, Source::Aux)),
        }
        self.step();
    }

    /// Writes the command port, 0x64.
    pub fn write_command(&mut self, value: u32) {
        let command = value.to_le_bytes()[0];
        self.was_command = true;
        self.parameter = Parameter::None;
        match command {
            0x20..=0x3f => self.tell(self.memory[usize::from(command & 0x1f)]),
            0x60..=0x7f => self.parameter = Parameter::Memory(command & 0x1f),
            0xa7 => self.memory[0] |= CONFIG_AUX_OFF,
            0xa8 => self.memory[0] &= !CONFIG_AUX_OFF,
            // Tests of the second port's and the keyboard's wires, and of the controller itself.
            0xa9 | 0xab => self.tell(0x00),
            0xaa => {
                self.memory[0] |= CONFIG_SYSTEM;
                self.tell(0x55);
            }
            0xad => self.memory[0] |= CONFIG_KEYBOARD_OFF,
            0xae => self.memory[0] &= !CONFIG_KEYBOARD_OFF,
            // The input port: the keyboard is not locked.
            0xc0 => self.tell(0x80),
            0xd0 => self.tell(self.output_port),
            0xd1 => self.parameter = Parameter::OutputPort,
            0xd2 => self.parameter = Parameter::FromKeyboard,
            0xd3 => self.parameter = Parameter::FromAux,
            0xd4 => self.parameter = Parameter::ToAux,
            // Pulses the lines of the output port whose bits are 0.
            0xf0..=0xff if command & OUTPUT_NO_RESET == 0 => self.action = Some(Action::Reset),
            _ => {}
        }
        self.step();
    }

    /// Fills the output buffer if it is empty and somebody has a byte for it. That is left to the bus,
    /// after it has looked at the lines: the edge between two bytes is what interrupts.
    pub fn step(&mut self) {
        if self.output.is_some() {
            return;
        }
        self.output = self.answer.take().or_else(|| {
            if self.config() & CONFIG_KEYBOARD_OFF != 0 {
                return None;
            }
            let byte = self.keyboard.pop_front()?;
            self.keyboard_last = byte;
            Some((self.translate(byte), Source::Keyboard))
        });
    }

    /// The level of the keyboard's line, ISA line 1.
    pub fn irq(&self) -> bool {
        matches!(self.output, Some((_, Source::Keyboard)))
            && self.config() & CONFIG_KEYBOARD_IRQ != 0
    }

    /// The level of the second port's line, ISA line 12.
    pub fn aux_irq(&self) -> bool {
        matches!(self.output, Some((_, Source::Aux))) && self.config() & CONFIG_AUX_IRQ != 0
    }

    /// What a write asked for.
    pub fn take_action(&mut self) -> Option<Action> {
        self.action.take()
    }

    fn config(&self) -> u8 {
        self.memory[0]
    }

    /// The controller's answer to a command. What was in the output buffer is overwritten.
    fn tell(&mut self, byte: u8) {
        self.output = None;
        self.answer = Some((byte, Source::Keyboard));
    }

    fn write_output_port(&mut self, byte: u8) {
        if byte & OUTPUT_NO_RESET == 0 {
            self.action = Some(Action::Reset);
        }
        self.output_port = byte | OUTPUT_NO_RESET;
    }

    /// From scan code set 2 to set 1, of which the keyboard's answers have three.
    fn translate(&self, byte: u8) -> u8 {
        match byte {
            _ if self.config() & CONFIG_TRANSLATE == 0 => byte,
            0x01 => 0x43,
            0x02 | 0x83 => 0x41,
            0x03 => 0x3f,
            _ => byte,
        }
    }

    fn command_keyboard(&mut self, byte: u8) {
        // Who writes to a keyboard that was switched off wants it on.
        self.memory[0] &= !CONFIG_KEYBOARD_OFF;
        match core::mem::replace(&mut self.keyboard_parameter, KeyboardParameter::None) {
            KeyboardParameter::None => {}
            KeyboardParameter::Ignored => return self.say(&[ACKNOWLEDGED]),
            KeyboardParameter::ScanCodeSet => {
                return match byte {
                    0 => self.say(&[ACKNOWLEDGED, self.scan_code_set]),
                    1..=3 => {
                        self.scan_code_set = byte;
                        self.say(&[ACKNOWLEDGED]);
                    }
                    _ => self.say(&[AGAIN]),
                };
            }
        }
        match byte {
            0xed | 0xf3 => {
                self.keyboard_parameter = KeyboardParameter::Ignored;
                self.say(&[ACKNOWLEDGED]);
            }
            0xee => self.say(&[0xee]),
            0xf0 => {
                self.keyboard_parameter = KeyboardParameter::ScanCodeSet;
                self.say(&[ACKNOWLEDGED]);
            }
            0xf2 => self.say(&[ACKNOWLEDGED, 0xab, 0x83]),
            0xf4 | 0xf7..=0xfa => self.say(&[ACKNOWLEDGED]),
            0xf5 | 0xf6 => {
                self.scan_code_set = 2;
                self.say(&[ACKNOWLEDGED]);
            }
            0xfe => self.say(&[self.keyboard_last]),
            0xff => {
                self.keyboard.clear();
                self.scan_code_set = 2;
                self.say(&[ACKNOWLEDGED, SELF_TEST_PASSED]);
            }
            _ => self.say(&[AGAIN]),
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            // Who sends commands and reads no answers misses some.
            let _ = self.keyboard.push_back(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn status(controller: &I8042) -> u32 {
        controller.read_status(Width::Byte)
    }

    /// What there is to read, as a driver reads it.
    fn answers(controller: &mut I8042) -> Vec<u32> {
        let mut bytes = Vec::new();
        while status(controller) & 1 != 0 {
            bytes.push(controller.read_data(Width::Byte));
            controller.step();
        }
        bytes
    }

    fn command(controller: &mut I8042, command: u32) -> Vec<u32> {
        controller.write_command(command);
        answers(controller)
    }

    fn keyboard(controller: &mut I8042, byte: u32) -> Vec<u32> {
        controller.write_data(byte);
        answers(controller)
    }

    #[test]
    fn the_controller_passes_its_tests() {
        let mut controller = I8042::new();
        assert_eq!(status(&controller), 0x14);
        assert_eq!(command(&mut controller, 0xaa), [0x55]);
        assert_eq!(command(&mut controller, 0xab), [0x00]);
        assert_eq!(command(&mut controller, 0xa9), [0x00]);
        assert_eq!(command(&mut controller, 0xc0), [0x80]);
        assert_eq!(command(&mut controller, 0xd0), [0x03]);
        assert_eq!(status(&controller), 0x1c);
    }

    #[test]
    fn its_configuration_is_read_and_written() {
        let mut controller = I8042::new();
        assert_eq!(command(&mut controller, 0x20), [0x45]);
        assert_eq!(command(&mut controller, 0x60), [0_u32; 0]);
        assert_eq!(keyboard(&mut controller, 0x30), [0_u32; 0]);
        assert_eq!(command(&mut controller, 0x20), [0x30]);
        assert_eq!(command(&mut controller, 0xae), [0_u32; 0]);
        assert_eq!(command(&mut controller, 0xa8), [0_u32; 0]);
        assert_eq!(command(&mut controller, 0x20), [0x00]);
        assert_eq!(command(&mut controller, 0xad), [0_u32; 0]);
        assert_eq!(command(&mut controller, 0xa7), [0_u32; 0]);
        assert_eq!(command(&mut controller, 0x20), [0x30]);
        assert_eq!(command(&mut controller, 0x7f), [0_u32; 0]);
        assert_eq!(keyboard(&mut controller, 0x77), [0_u32; 0]);
        assert_eq!(command(&mut controller, 0x3f), [0x77]);
    }

    #[test]
    fn the_keyboard_answers_its_commands() {
        let mut controller = I8042::new();
        command(&mut controller, 0x60);
        keyboard(&mut controller, 0x05);
        assert_eq!(keyboard(&mut controller, 0xff), [0xfa, 0xaa]);
        assert_eq!(keyboard(&mut controller, 0xf2), [0xfa, 0xab, 0x83]);
        assert_eq!(keyboard(&mut controller, 0xfe), [0x83]);
        assert_eq!(keyboard(&mut controller, 0xed), [0xfa]);
        assert_eq!(keyboard(&mut controller, 0x07), [0xfa]);
        assert_eq!(keyboard(&mut controller, 0xf0), [0xfa]);
        assert_eq!(keyboard(&mut controller, 0x01), [0xfa]);
        assert_eq!(keyboard(&mut controller, 0xf0), [0xfa]);
        assert_eq!(keyboard(&mut controller, 0x00), [0xfa, 0x01]);
        assert_eq!(keyboard(&mut controller, 0xf0), [0xfa]);
        assert_eq!(keyboard(&mut controller, 0x09), [0xfe]);
        assert_eq!(keyboard(&mut controller, 0xf6), [0xfa]);
        assert_eq!(keyboard(&mut controller, 0xee), [0xee]);
        assert_eq!(keyboard(&mut controller, 0x12), [0xfe]);
    }

    #[test]
    fn translation_is_the_controllers() {
        let mut controller = I8042::new();
        assert_eq!(keyboard(&mut controller, 0xf2), [0xfa, 0xab, 0x41]);
        for (set, translated) in [(1, 0x43), (2, 0x41), (3, 0x3f)] {
            keyboard(&mut controller, 0xf0);
            keyboard(&mut controller, set);
            keyboard(&mut controller, 0xf0);
            assert_eq!(keyboard(&mut controller, 0x00), [0xfa, translated]);
        }
    }

    #[test]
    fn a_port_interrupts_when_it_may() {
        let mut controller = I8042::new();
        for (config, irqs) in [(0x45, (false, false)), (0x46, (false, true))] {
            command(&mut controller, 0x60);
            keyboard(&mut controller, config);
            controller.write_command(0xd3);
            controller.write_data(0x5a);
            assert_eq!((controller.irq(), controller.aux_irq()), irqs);
            assert_eq!(answers(&mut controller), [0x5a]);
        }
        // Of the second port only: the keyboard's byte is not one of its.
        controller.write_data(0xee);
        assert_eq!((controller.irq(), controller.aux_irq()), (false, false));
    }

    #[test]
    fn each_byte_raises_its_line_anew() {
        let mut controller = I8042::new();
        controller.write_data(0xff);
        assert_eq!((controller.irq(), controller.aux_irq()), (true, false));
        controller.read_data(Width::Byte);
        assert!(!controller.irq(), "between two bytes");
        controller.step();
        assert!(controller.irq());
        assert_eq!(controller.read_data(Width::Byte), 0xaa);
        assert_eq!(controller.read_data(Width::Byte), 0xaa, "nothing new");
        command(&mut controller, 0x60);
        keyboard(&mut controller, 0x04);
        controller.write_data(0xf4);
        assert!(!controller.irq());
        assert_eq!(status(&controller) & 1, 1);
    }

    #[test]
    fn each_port_is_a_byte_and_its_neighbours_are_nobodys() {
        let mut controller = I8042::new();
        assert_eq!(controller.read_status(Width::Dword), 0xffff_ff14);
        controller.write_data(0xee);
        assert_eq!(controller.read_status(Width::Word), 0xff15);
        assert_eq!(controller.read_data(Width::Dword), 0xffff_ffee);
        assert_eq!(controller.read_data(Width::Word), 0xffee, "as it was left");
        controller.write_command(0xa7);
        assert_eq!(controller.read_status(Width::Byte), 0x1c);
        assert_eq!(command(&mut controller, 0x20), [0x65]);
        controller.write_command(0xa8);
        assert_eq!(command(&mut controller, 0x20), [0x45]);
        assert_eq!(command(&mut controller, 0xc0), [0x80]);
        assert_eq!(command(&mut controller, 0xd0), [0x03]);
        command(&mut controller, 0xd1);
        keyboard(&mut controller, 0xdd);
        assert_eq!(command(&mut controller, 0xd0), [0xdd]);
    }

    #[test]
    fn a_keyboard_says_again_what_it_said_and_what_it_does_not_know() {
        let mut controller = I8042::new();
        assert_eq!(keyboard(&mut controller, 0xf2), [0xfa, 0xab, 0x41]);
        assert_eq!(keyboard(&mut controller, 0xfe), [0x41]);
        for unknown in [0x00, 0x12, 0xf1] {
            assert_eq!(keyboard(&mut controller, unknown), [0xfe]);
        }
        for with_parameter in [0xed, 0xf3] {
            assert_eq!(keyboard(&mut controller, with_parameter), [0xfa]);
            assert_eq!(keyboard(&mut controller, 0xff), [0xfa], "no command");
        }
        assert_eq!(keyboard(&mut controller, 0xf0), [0xfa]);
        assert_eq!(keyboard(&mut controller, 0x04), [0xfe]);
        // Untranslated; and no more of what nobody reads than there is room for.
        command(&mut controller, 0x60);
        keyboard(&mut controller, 0x05);
        assert_eq!(keyboard(&mut controller, 0xf2), [0xfa, 0xab, 0x83]);
        for _ in 0..20 {
            controller.write_data(0xf4);
        }
        assert_eq!(answers(&mut controller).len(), KEYBOARD_QUEUE + 1);
        controller.write_data(0xf4);
        controller.write_data(0xff);
        assert_eq!(answers(&mut controller), [0xfa, 0xfa, 0xaa]);
    }

    #[test]
    fn a_keyboard_that_is_off_is_heard_when_it_is_on_again() {
        let mut controller = I8042::new();
        controller.write_data(0xff);
        controller.write_command(0xad);
        assert_eq!(answers(&mut controller), [0xfa]);
        assert_eq!(command(&mut controller, 0x20), [0x55]);
        assert_eq!(command(&mut controller, 0xae), [0xaa]);
    }

    #[test]
    fn the_second_port_works_and_nobody_is_there() {
        let mut controller = I8042::new();
        command(&mut controller, 0x60);
        keyboard(&mut controller, 0x47);
        controller.write_command(0xd3);
        controller.write_data(0x5a);
        assert_eq!((controller.irq(), controller.aux_irq()), (false, true));
        assert_eq!(status(&controller) & 0x21, 0x21);
        assert_eq!(answers(&mut controller), [0x5a]);
        controller.write_command(0xd4);
        assert_eq!(keyboard(&mut controller, 0xf2), [0xfe]);
        controller.write_command(0xd2);
        controller.write_data(0x1c);
        assert!(controller.irq());
        assert_eq!(answers(&mut controller), [0x1c]);
    }

    #[test]
    fn the_reset_line_resets_by_pulse_and_by_output_port() {
        let mut controller = I8042::new();
        command(&mut controller, 0xff);
        assert_eq!(controller.take_action(), None);
        command(&mut controller, 0xfe);
        assert_eq!(controller.take_action(), Some(Action::Reset));
        command(&mut controller, 0xd1);
        keyboard(&mut controller, 0xdf);
        assert_eq!(controller.take_action(), None);
        command(&mut controller, 0xd1);
        keyboard(&mut controller, 0xdc);
        assert_eq!(controller.take_action(), Some(Action::Reset));
    }

    proptest! {
        #[test]
        fn whatever_is_written_it_goes_on_answering(
            steps in proptest::collection::vec((0..4_u8, any::<u8>()), 0..300)
        ) {
            let mut controller = I8042::new();
            for (which, byte) in steps {
                match which {
                    0 => controller.write_data(byte.into()),
                    1 => controller.write_command(byte.into()),
                    2 => { controller.read_data(Width::Byte); }
                    _ => controller.step(),
                }
            }
            answers(&mut controller);
            prop_assert_eq!(command(&mut controller, 0xaa)[0], 0x55);
        }
    }
}
