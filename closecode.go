package eureka

// CloseCode is a WebSocket close code (RFC 6455 section 7.4): 1000–1015 as registered, 4400–4499 "do not reconnect as
// you are", 4500–4599 "reconnect".
type CloseCode uint16

// The close codes the service sends or understands.
const (
	CloseNormal      CloseCode = 1000
	CloseGoingAway   CloseCode = 1001
	CloseProtocol    CloseCode = 1002 // reserved bits or opcodes, an unmasked client frame, a bad fragment
	CloseUnsupported CloseCode = 1003 // a binary message
	CloseNoStatus    CloseCode = 1005 // never on the wire: the peer's close frame had no code
	CloseAbnormal    CloseCode = 1006 // never on the wire: the connection ended without a close frame
	CloseInvalidUTF8 CloseCode = 1007
	ClosePolicy      CloseCode = 1008
	CloseTooBig      CloseCode = 1009
	CloseInternal    CloseCode = 1011

	CloseInvalid         CloseCode = 4400
	CloseUnauthenticated CloseCode = 4401 // come back with a new token
	CloseForbidden       CloseCode = 4403
	CloseNotFound        CloseCode = 4404
	CloseConflict        CloseCode = 4409
	CloseGone            CloseCode = 4410
	CloseGap             CloseCode = 4411
	CloseRateLimited     CloseCode = 4429
	CloseKicked          CloseCode = 4480 // an operator ended the socket

	CloseRestart      CloseCode = 4500 // the node is going away; another one answers
	CloseSlowConsumer CloseCode = 4503 // the client read too slowly and its queue overflowed
	CloseTimeout      CloseCode = 4504
	CloseUnavailable  CloseCode = 4505
	CloseIdle         CloseCode = 4507 // nothing, not even a pong, came from the client in the idle limit
	CloseMaxAge       CloseCode = 4508 // the socket reached its maximum age
)

// Reconnect says whether a client closed with this code should connect again by itself.
func (c CloseCode) Reconnect() bool {
	switch {
	case c >= 4500 && c <= 4599:
		return true
	case c == CloseGoingAway, c == CloseAbnormal, c == CloseInternal, c == CloseNoStatus:
		return true
	default:
		return false
	}
}
