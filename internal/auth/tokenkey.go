package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/golang-jwt/jwt/v5"

	"eureka"
)

// The algorithms that tokens may be signed with. Each kind of key is for exactly one of them.
const (
	algHS256 = "HS256"
	algRS256 = "RS256"
	algES256 = "ES256"
	algEdDSA = "EdDSA"
)

// Bounds of an RSA key: shorter ones are weak, and longer ones cost more time than they are worth.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// key is one key that verifies, for one algorithm. It never changes but for retired.
type key struct {
	algorithm string
	material  any         // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey, as the algorithm has it
	retired   atomic.Bool // its issuer has withdrawn it; what it verified holds no longer
}

// verifies reports whether the signature over signed was made with the key's other half, or with the key when it is a secret.
func (k *key) verifies(signed string, signature []byte) bool {
	var method jwt.SigningMethod
	switch k.algorithm {
	case algHS256:
		method = jwt.SigningMethodHS256
	case algRS256:
		method = jwt.SigningMethodRS256
	case algES256:
		method = jwt.SigningMethodES256
	case algEdDSA:
		method = jwt.SigningMethodEdDSA
	default:
		return false
	}
	return method.Verify(signed, signature, k.material) == nil
}

// equal reports whether both are the same public key.
func (k *key) equal(other *key) bool {
	switch material := k.material.(type) {
	case *rsa.PublicKey:
		o, ok := other.material.(*rsa.PublicKey)
		return ok && material.Equal(o)
	case *ecdsa.PublicKey:
		o, ok := other.material.(*ecdsa.PublicKey)
		return ok && material.Equal(o)
	case ed25519.PublicKey:
		o, ok := other.material.(ed25519.PublicKey)
		return ok && material.Equal(o)
	default:
		return false
	}
}

// secretKey makes the key of a shared secret.
func secretKey(field string, secret []byte) (*key, error) {
	if len(secret) < minSecret {
		return nil, eureka.FieldError(field, "has %d bytes; at least %d are needed", len(secret), minSecret)
	}
	if block, _ := pem.Decode(secret); block != nil { // whoever has the public key could sign with it
		return nil, eureka.FieldError(field, "is a key or certificate in PEM and no secret; set pem")
	}
	return &key{algorithm: algHS256, material: bytes.Clone(secret)}, nil
}

// pemKey reads the one public key, or the key of the one certificate, that text contains.
func pemKey(field string, text []byte) (*key, error) {
	block, rest := pem.Decode(text)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, eureka.FieldError(field, "must contain one public key or certificate in PEM, and nothing after it")
	}
	var public any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = certificate.PublicKey
		}
	default:
		return nil, eureka.FieldError(field, "must be of the PEM type PUBLIC KEY or CERTIFICATE")
	}
	if err == nil {
		var k *key
		if k, err = publicKey(public); err == nil {
			return k, nil
		}
	}
	invalid := eureka.FieldError(field, "cannot be used; it must be an RSA key of %d to %d bits, an EC key on P-256, or an Ed25519 key", minRSABits, maxRSABits)
	invalid.Err = err
	return nil, invalid
}

// publicKey makes a key of a public key that is strong enough; its type decides the algorithm.
func publicKey(public any) (*key, error) {
	switch p := public.(type) {
	case *rsa.PublicKey:
		if bits := p.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("an RSA key of %d bits", bits)
		}
		if p.E < 3 || p.E%2 == 0 || int64(p.E) > 1<<31-1 || p.N.Bit(0) == 0 {
			return nil, errors.New("an RSA key with a bad modulus or exponent")
		}
		return &key{algorithm: algRS256, material: p}, nil
	case *ecdsa.PublicKey:
		if p.Curve != elliptic.P256() {
			return nil, errors.New("an EC key on another curve than P-256")
		}
		return &key{algorithm: algES256, material: p}, nil
	case ed25519.PublicKey:
		if len(p) != ed25519.PublicKeySize {
			return nil, errors.New("an Ed25519 key of a wrong length")
		}
		return &key{algorithm: algEdDSA, material: p}, nil
	default:
		return nil, fmt.Errorf("a key of type %T", public)
	}
}
