package natsengine

import "eureka"

const upperHex = "0123456789ABCDEF"

// emptyToken stands for the empty string, which no subject token can be. No other string is written so: "=" always has two digits.
const emptyToken = "="

// escapeToken maps any string to one NATS subject token that is also one token of a key-value key: A-Z a-z 0-9 _ and -
// stay, every other byte becomes =XX in upper-case hex. Different strings give different tokens.
func escapeToken(name string) string {
	if name == "" {
		return emptyToken
	}
	escaped := 0
	for i := range len(name) {
		if !plainByte(name[i]) {
			escaped++
		}
	}
	if escaped == 0 {
		return name
	}
	b := make([]byte, 0, len(name)+2*escaped)
	for i := range len(name) {
		if c := name[i]; plainByte(c) {
			b = append(b, c)
		} else {
			b = append(b, '=', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(b)
}

// unescapeToken is the inverse of escapeToken. What escapeToken never writes is a CodeInvalid error.
func unescapeToken(s string) (string, error) {
	if s == emptyToken {
		return "", nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case plainByte(c):
			b = append(b, c)
		case c == '=' && i+2 < len(s):
			high, low := hexDigit(s[i+1]), hexDigit(s[i+2])
			if high == notHex || low == notHex || plainByte(high<<4|low) {
				return "", badToken()
			}
			b = append(b, high<<4|low)
			i += 2
		default:
			return "", badToken()
		}
	}
	if len(b) == 0 {
		return "", badToken()
	}
	return string(b), nil
}

func badToken() error {
	return eureka.Errorf(eureka.CodeInvalid, "a name in a subject or key is not well-formed")
}

func plainByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

const notHex = 255

// hexDigit returns the value of an upper-case hex digit, notHex for anything else.
func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	default:
		return notHex
	}
}
