//go:build linux

package main

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawSend is send(2) without a word to the scheduler: it never blocks, and saying so costs a fifth of the call.
func rawSend(fd uintptr, b []byte) (n, second uintptr, errno syscall.Errno) {
	return syscall.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), //nolint:gosec // the call itself
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
}
