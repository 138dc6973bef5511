package chaos

import (
	"errors"
	"syscall"
)

// shrink leaves the system little room for what a client does not read. It is a net.Dialer's Control.
func shrink(_, _ string, c syscall.RawConn) error {
	var errs [2]error
	err := c.Control(func(fd uintptr) {
		errs[0] = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, smallBuffer)
		errs[1] = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, smallSegment)
	})
	return errors.Join(err, errs[0], errs[1])
}
