//! What the document of the interface says of a route: an [`Operation`] beside the route's answer.
//!
//! Invariants: all of it is constant; each field must be written, so nothing is left out without
//! somebody deciding so; what the route itself knows (method, path, permission, kind of body) is
//! not repeated here, and the tests of the document hold both together.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::problem::Code;

/// One operation.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its name in generated clients.
    pub id: &'static str,
    /// The group that it belongs to.
    pub tag: &'static str,
    /// What it does, in some words.
    pub summary: &'static str,
    /// What else there is to know.
    pub about: &'static str,
    /// All parameters of its path and its query.
    pub parameters: &'static [Parameter],
    /// The body that it takes.
    pub takes: Option<Taken>,
    /// What it answers when it does not refuse.
    pub answers: &'static [Given],
    /// How it refuses, besides what all routes of its kind may answer.
    pub refuses: &'static [Code],
    /// Whether it takes an `Idempotency-Key`.
    pub once: bool,
}

/// A body that is taken: JSON.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Its shape.
    pub shape: Shape,
    /// One that is right.
    pub example: &'static str,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// Its status.
    pub status: u16,
    /// When it is given, or what it is.
    pub about: &'static str,
    /// Its shape.
    pub shape: Shape,
}

/// The shape of a body.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// JSON of a type: see [`of`].
    Of(fn(&mut SchemaGenerator) -> Schema),
    /// A JSON object with at least these members.
    Fields(&'static [Field]),
    /// Text of this media type.
    Text(&'static str),
}

/// A member of an object: its name, its JSON type (or several: `string|null`), what it is.
pub type Field = (&'static str, &'static str, &'static str);

/// The shape of a type.
pub const fn of<T: JsonSchema>() -> Shape {
    Shape::Of(schema::<T>)
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the path; always there.
    Path,
    /// In the query; may be left out.
    Query,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Text of this form (a regular expression) with at most so many characters.
    Form(&'static str, usize),
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// `true` or `false`.
    Flag,
    /// One of these.
    Word(&'static [&'static str]),
}

/// A parameter.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Where it stands.
    pub place: Place,
    /// What it may be.
    pub kind: Kind,
    /// What it is.
    pub about: &'static str,
    /// A value that is right; of the query, where the example asks for it.
    pub example: Option<&'static str>,
}

impl Parameter {
    /// A part of the path.
    #[must_use]
    pub const fn path(
        name: &'static str,
        kind: Kind,
        about: &'static str,
        example: &'static str,
    ) -> Self {
        Self { name, place: Place::Path, kind, about, example: Some(example) }
    }

    /// Text in the query.
    #[must_use]
    pub const fn text(name: &'static str, about: &'static str) -> Self {
        Self { name, place: Place::Query, kind: Kind::Text, about, example: None }
    }

    /// A number in the query.
    #[must_use]
    pub const fn number(name: &'static str, least: u64, most: u64, about: &'static str) -> Self {
        Self { name, place: Place::Query, kind: Kind::Number(least, most), about, example: None }
    }

    /// A flag in the query.
    #[must_use]
    pub const fn flag(name: &'static str, about: &'static str) -> Self {
        Self { name, place: Place::Query, kind: Kind::Flag, about, example: None }
    }

    /// A word in the query.
    #[must_use]
    pub const fn word(
        name: &'static str,
        words: &'static [&'static str],
        about: &'static str,
    ) -> Self {
        Self { name, place: Place::Query, kind: Kind::Word(words), about, example: None }
    }

    /// The same, with a value that the example asks for.
    #[must_use]
    pub const fn such_as(mut self, example: &'static str) -> Self {
        self.example = Some(example);
        self
    }
}

impl Given {
    /// 200 with this.
    #[must_use]
    pub const fn ok(about: &'static str, shape: Shape) -> Self {
        Self { status: 200, about, shape }
    }

    /// 201 with this.
    #[must_use]
    pub const fn created(about: &'static str, shape: Shape) -> Self {
        Self { status: 201, about, shape }
    }
}
