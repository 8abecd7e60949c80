#include "tests/sim/sqlite_vfs.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <set>
#include <string>

#include "protocol/base/assert.hpp"

namespace skerry::sim {

namespace {

// What SQLite's own VFS says of a disk it knows nothing about.
constexpr int kSectorSize = 4096;
constexpr int kMaxPath = 512;

std::string folder_of(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string_view::npos || slash == 0 ? "/" : std::string(path.substr(0, slash));
}

struct OpenFile;

}  // namespace

struct SqliteVfs::Vfs {
    explicit Vfs(VirtualDisk& of) : disk(of) {}
    VirtualDisk& disk;
    std::string name;
    sqlite3_vfs vfs{};
    std::set<OpenFile*> open;  ///< for locks
    std::uint64_t temporary = 0;
};

namespace {

using Machine = sqlite3_vfs*;

/// SQLite gives the memory; the first member is its own.
struct OpenFile {
    sqlite3_file base;
    VirtualDisk* disk = nullptr;
    std::set<OpenFile*>* others = nullptr;
    VirtualDisk::File file;
    std::string path;
    int lock = SQLITE_LOCK_NONE;
    bool powersafe = true;     ///< assumed, unless told otherwise
    bool sync_folder = false;  ///< the next sync is also the folder's
    bool remove_on_close = false;
};

OpenFile& of(sqlite3_file* file) { return *reinterpret_cast<OpenFile*>(file); }

int code_of(const Error& error, int otherwise) { return error.code == Errc::disk_full ? SQLITE_FULL : otherwise; }

int file_close(sqlite3_file* base) {
    OpenFile& f = of(base);
    if (f.remove_on_close) (void)f.disk->remove(f.path);
    f.others->erase(&f);
    f.~OpenFile();
    return SQLITE_OK;
}

int file_read(sqlite3_file* base, void* out, int bytes, sqlite3_int64 offset) {
    OpenFile& f = of(base);
    auto* data = static_cast<std::uint8_t*>(out);
    const auto want = static_cast<std::size_t>(bytes);
    auto got = f.disk->read(f.file, static_cast<std::uint64_t>(offset), {data, want});
    if (!got) return SQLITE_IOERR_READ;
    if (*got == want) return SQLITE_OK;
    std::memset(data + *got, 0, want - *got);
    return SQLITE_IOERR_SHORT_READ;
}

int file_write(sqlite3_file* base, const void* in, int bytes, sqlite3_int64 offset) {
    OpenFile& f = of(base);
    const ByteSpan data(static_cast<const std::uint8_t*>(in), static_cast<std::size_t>(bytes));
    auto done = f.disk->write(f.file, static_cast<std::uint64_t>(offset), data);
    return done ? SQLITE_OK : code_of(done.error(), SQLITE_IOERR_WRITE);
}

int file_truncate(sqlite3_file* base, sqlite3_int64 bytes) {
    OpenFile& f = of(base);
    auto done = f.disk->resize(f.file, static_cast<std::uint64_t>(bytes));
    return done ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}

int file_sync(sqlite3_file* base, int) {
    OpenFile& f = of(base);
    if (!f.disk->sync(f.file)) return SQLITE_IOERR_FSYNC;
    // As SQLite does: a failure of the folder's sync is not told.
    if (f.sync_folder) (void)f.disk->sync_folder(folder_of(f.path));
    f.sync_folder = false;
    return SQLITE_OK;
}

int file_size(sqlite3_file* base, sqlite3_int64* bytes) {
    OpenFile& f = of(base);
    auto size = f.disk->size(f.file);
    if (!size) return SQLITE_IOERR_FSTAT;
    *bytes = static_cast<sqlite3_int64>(*size);
    return SQLITE_OK;
}

int highest_of_others(const OpenFile& f) {
    int level = SQLITE_LOCK_NONE;
    for (const OpenFile* other : *f.others)
        if (other != &f && other->file.identity() == f.file.identity()) level = std::max(level, other->lock);
    return level;
}

int file_lock(sqlite3_file* base, int level) {
    OpenFile& f = of(base);
    const int theirs = highest_of_others(f);
    const bool busy = (level == SQLITE_LOCK_SHARED && theirs >= SQLITE_LOCK_PENDING) ||
                      (level == SQLITE_LOCK_RESERVED && theirs >= SQLITE_LOCK_RESERVED) ||
                      (level == SQLITE_LOCK_EXCLUSIVE && theirs >= SQLITE_LOCK_SHARED);
    if (busy) return SQLITE_BUSY;
    f.lock = std::max(f.lock, level);
    return SQLITE_OK;
}

int file_unlock(sqlite3_file* base, int level) {
    of(base).lock = level;
    return SQLITE_OK;
}

int file_reserved(sqlite3_file* base, int* out) {
    *out = highest_of_others(of(base)) >= SQLITE_LOCK_RESERVED ? 1 : 0;
    return SQLITE_OK;
}

int file_control(sqlite3_file* base, int what, void* arg) {
    if (what != SQLITE_FCNTL_POWERSAFE_OVERWRITE) return SQLITE_NOTFOUND;
    int& value = *static_cast<int*>(arg);
    if (value >= 0) of(base).powersafe = value != 0;
    value = of(base).powersafe ? 1 : 0;
    return SQLITE_OK;
}

int file_sector_size(sqlite3_file*) { return kSectorSize; }

int file_characteristics(sqlite3_file* base) { return of(base).powersafe ? SQLITE_IOCAP_POWERSAFE_OVERWRITE : 0; }

// Version 1: without shared memory and mapped files.
const sqlite3_io_methods kMethods = {
    1,           file_close, file_read,   file_write,    file_truncate, file_sync,        file_size,
    file_lock,   file_unlock, file_reserved, file_control, file_sector_size, file_characteristics,
    nullptr,     nullptr,    nullptr,     nullptr,       nullptr,       nullptr};

}  // namespace

// ---- the VFS itself; `State` is SqliteVfs::Vfs, which only its owner can name
namespace {

template <class State>
State& state(Machine vfs) {
    return *static_cast<State*>(vfs->pAppData);
}

template <class State>
int vfs_open(Machine vfs, const char* name, sqlite3_file* base, int flags, int* out_flags) {
    State& s = state<State>(vfs);
    base->pMethods = nullptr;
    const bool temporary = name == nullptr;
    const std::string path = temporary ? "/.temporary-" + std::to_string(++s.temporary) : name;
    const bool there = s.disk.exists(path);
    const bool makes = (flags & SQLITE_OPEN_CREATE) != 0;
    auto file = makes ? s.disk.create(path, (flags & SQLITE_OPEN_EXCLUSIVE) != 0) : s.disk.open(path);
    if (!file) return code_of(file.error(), SQLITE_CANTOPEN);
    auto* f = new (base) OpenFile{};
    f->disk = &s.disk;
    f->others = &s.open;
    f->file = *file;
    f->path = path;
    f->remove_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
    f->sync_folder = makes && !there && (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL)) != 0;
    s.open.insert(f);
    base->pMethods = &kMethods;
    if (out_flags != nullptr) *out_flags = flags;
    return SQLITE_OK;
}

template <class State>
int vfs_delete(Machine vfs, const char* name, int sync_folder) {
    VirtualDisk& disk = state<State>(vfs).disk;
    auto gone = disk.remove(name);
    if (!gone) return gone.error().code == Errc::not_found ? SQLITE_IOERR_DELETE_NOENT : SQLITE_IOERR_DELETE;
    if (sync_folder != 0 && !disk.sync_folder(folder_of(name))) return SQLITE_IOERR_DIR_FSYNC;
    return SQLITE_OK;
}

template <class State>
int vfs_access(Machine vfs, const char* name, int what, int* out) {
    VirtualDisk& disk = state<State>(vfs).disk;
    // An empty file does not exist, as SQLite's own VFS has it.
    *out = disk.exists(name) && (what != SQLITE_ACCESS_EXISTS || disk.bytes_under(name) > 0) ? 1 : 0;
    return SQLITE_OK;
}

int vfs_full_path(Machine, const char* name, int room, char* out) {
    const std::size_t bytes = std::strlen(name) + 1;
    if (bytes > static_cast<std::size_t>(room)) return SQLITE_CANTOPEN;
    std::memcpy(out, name, bytes);
    return SQLITE_OK;
}

int vfs_randomness(Machine, int bytes, char* out) {
    std::memset(out, 0x5e, static_cast<std::size_t>(bytes));
    return bytes;
}

int vfs_sleep(Machine, int microseconds) { return microseconds; }

int vfs_time(Machine, double* julian_day) {
    *julian_day = 2460000.5;
    return SQLITE_OK;
}

int vfs_last_error(Machine, int, char*) { return 0; }

}  // namespace

SqliteVfs::SqliteVfs(VirtualDisk& disk) : vfs_(std::make_unique<Vfs>(disk)) {
    static std::uint64_t number = 0;
    vfs_->name = "skerry-sim-" + std::to_string(++number);
    sqlite3_vfs& v = vfs_->vfs;
    v.iVersion = 1;
    v.szOsFile = static_cast<int>(sizeof(OpenFile));
    v.mxPathname = kMaxPath;
    v.zName = vfs_->name.c_str();
    v.pAppData = vfs_.get();
    v.xOpen = vfs_open<Vfs>;
    v.xDelete = vfs_delete<Vfs>;
    v.xAccess = vfs_access<Vfs>;
    v.xFullPathname = vfs_full_path;
    v.xRandomness = vfs_randomness;
    v.xSleep = vfs_sleep;
    v.xCurrentTime = vfs_time;
    v.xGetLastError = vfs_last_error;
    SKERRY_ASSERT(sqlite3_vfs_register(&v, 0) == SQLITE_OK);
}

SqliteVfs::~SqliteVfs() {
    SKERRY_ASSERT(vfs_->open.empty());
    sqlite3_vfs_unregister(&vfs_->vfs);
}

void SqliteVfs::seed(std::uint64_t seed) {
    sqlite3_initialize();
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, static_cast<int>(seed % 0x7fffffff) + 1, nullptr);
}

// ---- StoreFiles

const char* SqliteVfs::vfs() const { return vfs_->name.c_str(); }

bool SqliteVfs::exists(const std::filesystem::path& file) { return vfs_->disk.exists(file.native()); }

Result<void> SqliteVfs::create_private(const std::filesystem::path& file) {
    auto made = vfs_->disk.create(file.native(), true);
    if (!made) return fail(made.error());
    return {};
}

Result<void> SqliteVfs::copy_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
    VirtualDisk& disk = vfs_->disk;
    auto source = disk.open(from.native());
    if (!source) return fail(source.error());
    auto size = disk.size(*source);
    if (!size) return fail(size.error());
    Bytes content(*size);
    if (auto got = disk.read(*source, 0, content); !got) return fail(got.error());
    if (auto gone = remove(to); !gone) return gone;
    auto target = disk.create(to.native(), true);
    if (!target) return fail(target.error());
    if (auto done = disk.write(*target, 0, content); !done) return done;
    return disk.sync(*target);
}

Result<void> SqliteVfs::link(const std::filesystem::path& from, const std::filesystem::path& to) {
    return vfs_->disk.link(from.native(), to.native());
}

Result<void> SqliteVfs::rename(const std::filesystem::path& from, const std::filesystem::path& to) {
    return vfs_->disk.rename(from.native(), to.native());
}

Result<void> SqliteVfs::remove(const std::filesystem::path& file) {
    if (!exists(file)) return {};
    return vfs_->disk.remove(file.native());
}

Result<void> SqliteVfs::sync(const std::filesystem::path& file) {
    auto opened = vfs_->disk.open(file.native());
    if (!opened) return fail(opened.error());
    return vfs_->disk.sync(*opened);
}

Result<void> SqliteVfs::sync_folder(const std::filesystem::path& folder) { return vfs_->disk.sync_folder(folder.native()); }

}  // namespace skerry::sim
