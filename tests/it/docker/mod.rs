//! The proof on a real Docker engine: images, stack, secrets, and what happens when containers die.

mod alone;
mod autoflow;
mod burglary;
mod celery;
mod commands;
mod rotation;
mod scenarios;
mod stack;
