/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* What the selftests of VFIO use of libuuid: see uuid_parse(3). */
#ifndef UUID_H
#define UUID_H

typedef unsigned char uuid_t[16];

int uuid_parse(const char *in, uuid_t uu);
void uuid_generate(uuid_t out);
void uuid_unparse(const uuid_t uu, char *out);

#endif
