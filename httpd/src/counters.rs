// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters of requests.

adit_netstack::counters! {
    /// Counters of a worker's requests and connections since its start.
    Counters,
    /// The values of [`Counters`].
    Snapshot {
        /// Connections begun.
        connections,
        /// Connections that have ended.
        closed,
        /// Pauses of accepting at the limit of connections; others wait in the queue of the socket.
        accept_pauses,
        /// Failures to accept a connection: no descriptor or memory was left.
        accept_failures,
        /// Requests whose head was read.
        requests,
        /// Responses 2xx.
        responses_2xx,
        /// Responses 3xx.
        responses_3xx,
        /// Responses 4xx.
        responses_4xx,
        /// Responses 5xx.
        responses_5xx,
        /// Bytes of responses, with their heads.
        sent_bytes,
        /// Heads refused: syntax.
        refused_syntax,
        /// Heads refused: longer than the limit, or too many fields.
        refused_head_size,
        /// Bodies refused: longer than the limit.
        refused_body_size,
        /// Bodies refused: a transfer coding, which the server does not support.
        refused_transfer_coding,
        /// Requests refused: paths that lead out of the folder or have invalid escapes.
        refused_path,
        /// Connections closed: no request for too long.
        closed_idle,
        /// Connections closed: a head took too long.
        closed_head_time,
        /// Connections closed: a body took too long.
        closed_body_time,
        /// Connections reset: the client did not take the response.
        closed_send_time,
        /// Connections closed: the client ended within a request.
        closed_in_request,
        /// Connections closed: the server is stopping.
        closed_stopping,
        /// Responses cut: a file could not be read, or has become shorter.
        cut_responses,
    }
}
