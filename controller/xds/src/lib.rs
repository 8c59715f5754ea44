//! The xDS protocol: aggregated delta and SotW, versions, ACK and NACK.
