"""E-mail by SMTP: messages, header fields, connections."""
