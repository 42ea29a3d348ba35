//! The one binary of pgconvoy.

fn main() -> anyhow::Result<()> {
    Ok(())
}
