// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! How a request ended.

named! {
    /// Values of `v_retval` in a reply (virtchnl2_status in the standard's text; Linux only tells
    /// 0 from the rest). Below 200 they are the numbers of errno.
    pub mod status: u32 {
        /// Done.
        SUCCESS = 0;
        /// The sender may not send this.
        ERR_EPERM = 1;
        /// There is no such opcode.
        ERR_ESRCH = 3;
        /// The device failed to do it.
        ERR_EIO = 5;
        /// What the message names is not allocated.
        ERR_ENXIO = 6;
        /// What the message names is not the sender's.
        ERR_EACCES = 13;
        /// Somebody else has it.
        ERR_EBUSY = 16;
        /// It is there already.
        ERR_EEXIST = 17;
        /// The message is malformed or contradicts itself.
        ERR_EINVAL = 22;
        /// No more of it.
        ERR_ENOSPC = 28;
        /// A number is out of its range.
        ERR_ERANGE = 34;
        /// Not in this mode of the device.
        ERR_EMODE = 200;
        /// Not in this order.
        ERR_ESM = 201;
    }
}
