//! A debug file: from addresses to functions, files and lines.

use std::fmt;

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

use crate::elf;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Why a file names nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DebugFileError {
    /// Not ELF, or damaged.
    #[error("not an ELF file that can be read: {0}")]
    Unreadable(String),
    /// Neither symbols nor line tables.
    #[error(
        "there are no names in it: it is stripped; name the .debug file that `build` wrote beside \
         the image"
    )]
    Stripped,
}

/// Names and lines of one build.
pub struct DebugFile<'a> {
    context: Option<Context<Slice<'a>>>,
    /// Start, end and name of each function, sorted.
    functions: Vec<(u64, u64, String)>,
    build_id: Option<String>,
}

impl fmt::Debug for DebugFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DebugFile")
            .field("build_id", &self.build_id)
            .field("functions", &self.functions.len())
            .finish_non_exhaustive()
    }
}

/// A function that an address is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its name, if it is known.
    pub function: Option<String>,
    /// The source file as the compiler was told, if it is known.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u32>,
    /// The column in it, from 1.
    pub column: Option<u32>,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function.as_deref().unwrap_or("?"))?;
        if let Some(file) = &self.file {
            write!(f, " at {file}")?;
            for number in [self.line, self.column]
                .into_iter()
                .map_while(|number| number)
            {
                write!(f, ":{number}")?;
            }
        }
        Ok(())
    }
}

impl<'a> DebugFile<'a> {
    /// Reads a debug file, or a linked image that was not stripped.
    ///
    /// # Errors
    /// When it is no ELF file, or there are no names in it.
    pub fn read(file: &'a [u8]) -> Result<Self, DebugFileError> {
        let unreadable = |error: &dyn fmt::Display| DebugFileError::Unreadable(error.to_string());
        let object = object::File::parse(file).map_err(|error| unreadable(&error))?;
        let section = |id: SectionId| -> Result<Slice<'a>, object::Error> {
            let bytes = match object.section_by_name(id.name()) {
                Some(section) => section.data()?,
                None => &[],
            };
            Ok(EndianSlice::new(bytes, LittleEndian))
        };
        let has_lines = object.section_by_name(".debug_info").is_some();
        let context = if has_lines {
            let dwarf = Dwarf::load(section).map_err(|error| unreadable(&error))?;
            Some(Context::from_dwarf(dwarf).map_err(|error| unreadable(&error))?)
        } else {
            None
        };
        let mut functions: Vec<(u64, u64, String)> = object
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && !symbol.is_undefined())
            .filter_map(|symbol| {
                let name = symbol.name().ok().filter(|name| !name.is_empty())?;
                let end = symbol.address().checked_add(symbol.size())?;
                Some((
                    symbol.address(),
                    end,
                    addr2line::demangle_auto(name.into(), None).into_owned(),
                ))
            })
            .collect();
        functions.sort();
        if context.is_none() && functions.is_empty() {
            return Err(DebugFileError::Stripped);
        }
        Ok(Self {
            context,
            functions,
            build_id: elf::build_id(file).map(|id| {
                id.iter().fold(String::new(), |mut text, byte| {
                    text.push_str(&format!("{byte:02x}"));
                    text
                })
            }),
        })
    }

    /// A file that names nothing.
    #[cfg(test)]
    pub(super) fn nothing() -> Self {
        Self {
            context: None,
            functions: Vec::new(),
            build_id: None,
        }
    }

    /// The build-id in hexadecimal.
    pub fn build_id(&self) -> Option<&str> {
        self.build_id.as_deref()
    }

    /// Whether `address` lies in a function.
    pub fn is_text(&self, address: u64) -> bool {
        self.symbol(address).is_some()
    }

    fn symbol(&self, address: u64) -> Option<&str> {
        let after = self
            .functions
            .partition_point(|(start, ..)| *start <= address);
        // A symbol written in assembly has no size: it reaches to the next.
        let (start, end, name) = self.functions[..after].last()?;
        let reaches = if start == end {
            self.functions.get(after).map_or(u64::MAX, |next| next.0)
        } else {
            *end
        };
        (address < reaches).then_some(name)
    }

    /// The functions that the code at `address` belongs to: those that were inlined there first,
    /// innermost first, the one that was called last. None when it is no code of this build.
    pub fn frames(&self, address: u64) -> Vec<Frame> {
        let mut frames = self.lines(address);
        // Line tables have names without their modules; the symbol has them.
        if let Some(name) = self.symbol(address) {
            match frames.last_mut() {
                Some(frame) => frame.function = Some(name.to_owned()),
                None => frames.push(Frame {
                    function: Some(name.to_owned()),
                    file: None,
                    line: None,
                    column: None,
                }),
            }
        }
        frames
    }

    fn lines(&self, address: u64) -> Vec<Frame> {
        let Some(context) = &self.context else {
            return Vec::new();
        };
        // Damaged line tables name nothing; the symbols may.
        let Ok(mut found) = context.find_frames(address).skip_all_loads() else {
            return Vec::new();
        };
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = found.next() {
            let location = frame.location.as_ref();
            frames.push(Frame {
                function: frame
                    .function
                    .as_ref()
                    .and_then(|function| Some(function.demangle().ok()?.into_owned())),
                file: location.and_then(|location| Some(location.file?.to_owned())),
                line: location
                    .and_then(|location| location.line)
                    .filter(|&line| line > 0),
                column: location
                    .and_then(|location| location.column)
                    .filter(|&column| column > 0),
            });
        }
        frames.retain(|frame| frame.function.is_some() || frame.file.is_some());
        frames
    }
}
