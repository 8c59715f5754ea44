//! `contour`: the data-plane controller.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Snapshots are many small allocations that live long: this allocator keeps the process small.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    match contour::cli::Cli::of(std::env::args_os()) {
        Ok(cli) => contour::cmd::run(cli),
        Err(error) => error.exit(),
    }
}
