package eureka

// Identity is who is behind a socket or a request. The zero identity is anonymous.
type Identity struct {
	User string // at most MaxUserLength bytes
}
