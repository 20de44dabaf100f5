// SPDX-License-Identifier: GPL-2.0

//! Granted pages: files that map some pages of registers and do nothing else.
//!
//! Such a file may be held by any process, for any length of time. Its pages are therefore tied to
//! a [`Grant`], the time for which an owner has an ADI: until the device is closed or reset, or the
//! ADI ends. From then on they are replaced by a dummy page, in existing mappings as well, so that
//! the next owner of the ADI has exclusive use of its doorbells. Files refer to page frames and
//! grants, not to ADIs: they keep the module loaded, and nothing else alive.
//!
//! One kind of reference to a page outlives its grant, as with the BARs of any VFIO device:
//! `VFIO_IOMMU_MAP_DMA` of a type1 container follows `VM_PFNMAP` mappings to their page frames,
//! maps those for the DMA of all devices in the container, and is not notified when the mappings
//! are removed. (iommufd pins pages, which registers do not have.) A process with such a mapping
//! and a device of its own to write to it can still ring the doorbell of the ADI's next owner. This
//! gives no access to memory: a doorbell reports how far a ring is filled, and the ring and the
//! buffers it refers to are read in the address space of the ADI that it belongs to. At worst a
//! queue of the next owner stops with a fault, which is reported to that owner.
//!
//! C header: [`include/linux/anon_inodes.h`](srctree/include/linux/anon_inodes.h)

use adit_bindings as bindings;
use adit_uapi::vfio::{
    PageEntry,
    PagesFd,
    MAX_PAGES,
    SOURCE_SELF, //
};
use core::ptr::NonNull;
use kernel::{
    error::{
        from_err_ptr,
        from_result, //
    },
    fs::{
        file::FileDescriptorReservation,
        File,
        LocalFile, //
    },
    page::Page,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use zerocopy::FromBytes;

use super::{
    grant::{
        Grant,
        Mapping, //
    },
    mapping::{
        self,
        PageSource, //
    },
    state::{
        page_frame,
        State, //
    },
};

/// A page of registers, accessible while its grant is valid.
#[derive(Clone)]
struct GrantedPage {
    grant: Arc<Grant>,
    frame: u64,
}

/// The pages that a file can map.
struct Pages {
    pages: KVec<GrantedPage>,
    /// Page that is mapped instead of pages whose grant was revoked, so that a process that is just
    /// ringing a doorbell gets no SIGBUS.
    dummy: Page,
}

// SAFETY: The frames are register pages that were granted, or the dummy page, which is freed with
// the file.
unsafe impl PageSource for Pages {
    fn map_page<R>(&self, page: u64, map: impl FnOnce(u64) -> R) -> Option<R> {
        let page = self.pages.get(usize::try_from(page).ok()?)?;
        let result = page.grant.while_mapping(|revoked| match revoked {
            false => map(page.frame),
            true => map(page_frame(&self.dummy)),
        });
        Some(result)
    }
}

impl Pages {
    /// Returns the grants, each once for every run of pages under it.
    fn grants(&self) -> impl Iterator<Item = &Arc<Grant>> {
        let mut last: Option<&Arc<Grant>> = None;
        self.pages.iter().filter_map(move |page| {
            let grant = &page.grant;
            let new = !last.is_some_and(|last| Arc::ptr_eq(last, grant));
            last = Some(grant);
            new.then_some(grant)
        })
    }
}

/// Handles PAGES_FD: creates a file and returns its descriptor in the calling process.
pub(super) fn create(state: &State, arg: UserPtr) -> Result<u32> {
    let grant = state.grant().ok_or(EIO)?;
    let pages = read_list(state, &grant, arg)?;
    let dummy = Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
    let pages = KBox::new(Pages { pages, dummy }, GFP_KERNEL_ACCOUNT)?;
    let reservation = FileDescriptorReservation::get_unused_fd_flags(bindings::O_CLOEXEC)?;
    let file = open(pages)?;
    let fd = reservation.reserved_fd();
    reservation.fd_install(file);
    Ok(fd)
}

/// Creates a file for a list of pages, and adds it to the lists of their grants.
fn open(pages: KBox<Pages>) -> Result<ARef<File>> {
    let pages = KBox::into_raw(pages);
    // With its own inode, so that the mappings of its pages can be found without those of others.
    // SAFETY: The operations are static, and their owner keeps them loaded; the private data
    // belongs to `release()` from here on.
    let file = from_err_ptr(unsafe {
        bindings::anon_inode_create_getfile(
            c"[adit-pages]".as_char_ptr(),
            &FILE_OPS.0,
            pages.cast(),
            // CAST: small flags.
            (bindings::O_RDWR | bindings::O_CLOEXEC) as c_int,
            core::ptr::null(),
        )
    });
    let file = match file {
        Ok(file) => NonNull::new(file).ok_or(ENOMEM)?,
        Err(error) => {
            // SAFETY: It came out of a box above, and no file owns it.
            drop(unsafe { KBox::from_raw(pages) });
            return Err(error);
        }
    };
    // SAFETY: The file was opened just now, and the reference to it is ours. `File` is transparent
    // around the C structure. No thread can be seeking in a file without a descriptor.
    let file: ARef<File> = unsafe { ARef::from_raw(file.cast()) };
    // SAFETY: The file is open, `release()` removes its mapping from the grants, and its pages live
    // as long as it. If a grant refuses, the file is closed by the drop of `file`.
    let (mapping, pages) = unsafe { (Mapping::of(file.as_ptr()), &*pages) };
    for grant in pages.grants() {
        grant.add_file(mapping)?;
    }
    Ok(file)
}

/// Reads the list that the caller has passed.
fn read_list(state: &State, grant: &Arc<Grant>, arg: UserPtr) -> Result<KVec<GrantedPage>> {
    let mut bytes = [0; PagesFd::LEN];
    UserSlice::new(arg, bytes.len())
        .reader()
        .read_slice(&mut bytes)?;
    let head = PagesFd::read_from_bytes(&bytes).map_err(|_| EINVAL)?;
    let count = head.count.get();
    if head.flags.get() != 0 || head.reserved.get() != 0 || count == 0 {
        return Err(EINVAL);
    }
    if count > MAX_PAGES {
        return Err(E2BIG);
    }
    let len = count as usize * PageEntry::LEN;
    if (head.argsz.get() as usize) < PagesFd::LEN + len {
        return Err(EINVAL);
    }
    let mut pages: KVec<GrantedPage> = KVec::with_capacity(count as usize, GFP_KERNEL_ACCOUNT)?;
    let mut reader = UserSlice::new(arg.wrapping_byte_add(PagesFd::LEN), len).reader();
    for _ in 0..count {
        let mut bytes = [0; PageEntry::LEN];
        reader.read_slice(&mut bytes)?;
        let entry = PageEntry::read_from_bytes(&bytes).map_err(|_| EINVAL)?;
        let page = find(state, grant, &entry)?;
        if page.grant.is_revoked() {
            return Err(EIO);
        }
        if pages.iter().any(|other| other.frame == page.frame) {
            return Err(EEXIST);
        }
        pages.push(page, GFP_KERNEL_ACCOUNT)?;
    }
    Ok(pages)
}

/// Returns the page that an entry refers to.
fn find(state: &State, grant: &Arc<Grant>, entry: &PageEntry) -> Result<GrantedPage> {
    let (region, page) = (entry.region.get(), entry.page.get());
    if entry.reserved.get() != 0 {
        return Err(EINVAL);
    }
    if entry.source_fd.get() == SOURCE_SELF {
        let pages = state.registers(region).ok_or(EINVAL)?;
        let frame = state.register_frame(pages, page.into()).ok_or(ENXIO)?;
        let grant = grant.clone();
        return Ok(GrantedPage { grant, frame });
    }
    let fd = u32::try_from(entry.source_fd.get()).map_err(|_| EBADF)?;
    let file = LocalFile::fget(fd)?;
    // SAFETY: The file is open; its operations do not change.
    if !core::ptr::eq(unsafe { (*file.as_ptr()).f_op }, &FILE_OPS.0) || region != 0 {
        return Err(EINVAL);
    }
    // SAFETY: A file with these operations has this as its private data from its creation until
    // `release()`, which the reference to it prevents.
    let pages = unsafe { &*(*file.as_ptr()).private_data.cast::<Pages>() };
    pages.pages.get(page as usize).cloned().ok_or(ENXIO)
}

/// Operations of a file, which the kernel only reads.
struct FileOps(bindings::file_operations);

// SAFETY: They are never written to.
unsafe impl Sync for FileOps {}

static FILE_OPS: FileOps = FileOps(bindings::file_operations {
    owner: crate::THIS_MODULE.as_ptr(),
    mmap: Some(mmap),
    release: Some(release),
    ..pin_init::zeroed()
});

/// Frees the pages after the last descriptor and the last mapping are closed.
unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: Called once for a file of `open()`, whose private data came out of a box.
    let pages = unsafe { KBox::from_raw((*file).private_data.cast::<Pages>()) };
    // SAFETY: The file is being released, and its inode is freed only after this, which removes
    // its mapping from the grants.
    let mapping = unsafe { Mapping::of(file) };
    for grant in pages.grants() {
        grant.remove_file(mapping);
    }
    0
}

/// Maps a range of the pages.
unsafe extern "C" fn mmap(file: *mut bindings::file, vma: *mut bindings::vm_area_struct) -> c_int {
    from_result(|| {
        // SAFETY: Called for a file of `open()`, which is open, so that its pages exist.
        let pages = unsafe { &*(*file).private_data.cast::<Pages>() };
        // SAFETY: `vma` is being set up by `mmap()`.
        let (first, count) = unsafe { mapping::range(vma)? };
        let first = usize::try_from(first).map_err(|_| EINVAL)?;
        let count = usize::try_from(count).map_err(|_| EINVAL)?;
        let end = first.checked_add(count).ok_or(EINVAL)?;
        let wanted = pages.pages.get(first..end).ok_or(EINVAL)?;
        if wanted.iter().any(|page| page.grant.is_revoked()) {
            return Err(EIO);
        }
        // SAFETY: As above. The mapping keeps its file open, and the file its pages.
        unsafe { mapping::map_registers(vma, pages) };
        Ok(0)
    })
}
