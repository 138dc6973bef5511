package loadgen

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The loop's calls never block: its descriptors say so. Telling the scheduler about each would cost as much as the call itself.

func rawRead(fd int, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))) //nolint:gosec // the call itself
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// rawEpollWait returns what has happened already.
func rawEpollWait(fd int, events []unix.EpollEvent) (int, error) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0) //nolint:gosec // the call itself
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// rawSleep sleeps on the thread. It is for moments alone: what else would run on it waits as well.
func rawSleep(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_, _, _ = syscall.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0) //nolint:gosec // the call itself
}
