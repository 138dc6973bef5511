package gateway

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of a loop. None of them can block, so they go past the scheduler, which would otherwise get ready for that each time.

// pollNow returns how many events there are.
func pollNow(poll int, events []unix.EpollEvent) int {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0) //nolint:gosec // the kernel is given memory that lives as long as the call
	if errno != 0 {
		return 0
	}
	return int(n)
}

// receive reads what is there into b.
func receive(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0) //nolint:gosec // the kernel is given memory that lives as long as the call
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// send writes as much of b as the kernel takes.
func send(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0) //nolint:gosec // the kernel is given memory that lives as long as the call
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// sendAll is send for the first of several chunks, with one call.
func sendAll(fd int, chunks []chunk) (int, syscall.Errno) {
	var pieces [64]unix.Iovec
	chunks = chunks[:min(len(chunks), len(pieces))]
	for i, c := range chunks {
		rest := c.bytes[c.done:]
		pieces[i].Base = &rest[0]
		pieces[i].SetLen(len(rest))
	}
	message := unix.Msghdr{Iov: &pieces[0]}
	message.SetIovlen(len(chunks))
	n, _, errno := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&message)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) //nolint:gosec // the kernel is given memory that lives as long as the call
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
