//! Arrow's IPC file format, also known as Feather 2: what `pyarrow.feather`, `pandas.read_feather` and `polars.read_ipc` open.
//! Not the stream format, of which a torn file would look whole.

use arrow_ipc::writer::FileWriter;
use arrow_schema::ArrowError;

use crate::batch::Batch;
use crate::columns::Column;
use crate::encode::{self, Encode, Fault};

/// Rows as record batches.
pub(crate) struct Arrow {
    batch: Batch,
    writer: FileWriter<Vec<u8>>,
}

impl Arrow {
    pub(crate) fn begin(columns: &[Column], out: &mut Vec<u8>) -> std::result::Result<Arrow, Fault> {
        let batch = Batch::new(columns);
        let mut arrow = Arrow { writer: FileWriter::try_new(Vec::new(), &batch.schema())?, batch };
        out.append(arrow.writer.get_mut());
        Ok(arrow)
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> encode::Result {
        if !self.batch.is_empty() {
            self.writer.write(&self.batch.take()?)?;
            out.append(self.writer.get_mut());
        }
        Ok(())
    }
}

impl Encode for Arrow {
    fn row(&mut self, fields: &[u8], out: &mut Vec<u8>) -> encode::Result {
        if self.batch.push(fields)? { self.flush(out) } else { Ok(()) }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> encode::Result {
        self.flush(out)?;
        self.writer.finish()?;
        out.append(self.writer.get_mut());
        Ok(())
    }
}

impl From<ArrowError> for Fault {
    fn from(error: ArrowError) -> Fault {
        Fault::Writer(error.into())
    }
}
