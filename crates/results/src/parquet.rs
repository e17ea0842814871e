//! Parquet, compressed with zstd; GeoParquet is the same with something said of its geometries.
//!
//! <https://geoparquet.org/releases/v1.1.0/>

use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::batch::Batch;
use crate::columns::{Column, GEOMETRY};
use crate::encode::{self, Encode, Fault};

/// The memory of a row group in the making at which it is written. Larger ones are read faster; this is what a stream holds.
const ROW_GROUP: usize = 4 << 20;
/// Of a page, before compression. Each column has one in the making, and there may be many columns.
const PAGE: usize = 256 << 10;

/// Rows as row groups.
pub(crate) struct Parquet {
    batch: Batch,
    writer: ArrowWriter<Vec<u8>>,
}

impl Parquet {
    /// `of_features`: the columns are those of [`crate::columns::feature`].
    pub(crate) fn begin(columns: &[Column], of_features: bool) -> std::result::Result<Parquet, Fault> {
        let batch = Batch::new(columns);
        // Without a reference system named it is longitude and latitude, as in GeoJSON; types that are not named may be any.
        let geo = format!(
            "{{\"version\":\"1.1.0\",\"primary_column\":\"{GEOMETRY}\",\"columns\":\
             {{\"{GEOMETRY}\":{{\"encoding\":\"WKB\",\"geometry_types\":[]}}}}}}"
        );
        let said = of_features.then(|| vec![KeyValue::new("geo".to_owned(), geo)]);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_data_page_size_limit(PAGE)
            .set_dictionary_page_size_limit(PAGE)
            .set_key_value_metadata(said)
            .build();
        Ok(Parquet { writer: ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?, batch })
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> encode::Result {
        if !self.batch.is_empty() {
            self.writer.write(&self.batch.take()?)?;
        }
        if self.writer.memory_size() >= ROW_GROUP {
            self.writer.flush()?;
        }
        self.hand_over(out)
    }

    /// What has been written so far, out of the writer's own buffer too.
    fn hand_over(&mut self, out: &mut Vec<u8>) -> encode::Result {
        self.writer.sync().map_err(ParquetError::from)?;
        out.append(self.writer.inner_mut());
        Ok(())
    }
}

impl Encode for Parquet {
    fn row(&mut self, fields: &[u8], out: &mut Vec<u8>) -> encode::Result {
        if self.batch.push(fields)? { self.flush(out) } else { Ok(()) }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> encode::Result {
        self.flush(out)?;
        self.writer.finish()?;
        self.hand_over(out)
    }
}

impl From<ParquetError> for Fault {
    fn from(error: ParquetError) -> Fault {
        Fault::Writer(error.into())
    }
}
