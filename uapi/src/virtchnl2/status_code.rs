// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Status codes of replies.

named! {
    /// Values of `v_retval` in a reply (virtchnl2_status in the text of the specification; Linux
    /// only distinguishes 0 from the rest). Below 200 they are errno numbers.
    pub mod status: u32 {
        /// Success.
        SUCCESS = 0;
        /// The sender may not send this message.
        ERR_EPERM = 1;
        /// There is no such opcode.
        ERR_ESRCH = 3;
        /// The device failed to execute the request.
        ERR_EIO = 5;
        /// An object that the message refers to is not allocated.
        ERR_ENXIO = 6;
        /// An object that the message refers to is not the sender's.
        ERR_EACCES = 13;
        /// The object is in use by another.
        ERR_EBUSY = 16;
        /// The object exists already.
        ERR_EEXIST = 17;
        /// The message is malformed or contradicts itself.
        ERR_EINVAL = 22;
        /// Resources are exhausted.
        ERR_ENOSPC = 28;
        /// A number is out of range.
        ERR_ERANGE = 34;
        /// Not allowed in this mode of the device.
        ERR_EMODE = 200;
        /// Not allowed in this state.
        ERR_ESM = 201;
    }
}
